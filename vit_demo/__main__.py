from vit_demo.cli.main import command

command()
