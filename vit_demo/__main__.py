from vit_demo.cli import command

command()
