"""RWKV-4, a recurrent network, from BlinkDL's `.pth` files and transformers' folders.

The formulas are from Peng et al. 2023, arXiv:2305.13048, section 3; the names of the tensors are
from BlinkDL/RWKV-LM, RWKV-v4neo/src/model.py.
"""
