"""What each `workbench` command asks for and does; the module `cli` gathers them."""
