"""RWKV-4, an RNN: BlinkDL's own `.pth` files and transformers' folders, run natively.

The formulas are those of Peng et al. 2023, arXiv:2305.13048, section 3; the names of the tensors
are those of BlinkDL/RWKV-LM, RWKV-v4neo/src/model.py.
"""
