"""The formats that tables are read from and written to, one file for each; none of them ever unpickles.

Read `_npy` first, which the others build on, then `_npz`, in which `ExpertTable.save` writes, and `_mixmin`, the folders of the MixMin code.
`_folder` and `_manifest` write folders of parts and their ``table.json``; `_rows_out` writes
parts and files piece by piece.
A format returns the arguments of a constructor of `ExpertTable`, which checks them. `mixfast.tables._files` decides which format a path has.
"""
