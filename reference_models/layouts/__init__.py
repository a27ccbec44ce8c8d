"""How trainers write their models, and how each becomes a model of a family.

`layout`: the contract. `table`: all layouts, and `read_model`, the one way in. `package`: folders, archives and the
files beside a checkpoint. `config_files`: JSON and YAML without trust. `official`: the families' own code. `refused`:
what is recognized and not exported. Each other module reads one trainer's files.
"""
