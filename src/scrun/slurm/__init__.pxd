# A package that Cython can cimport from.
