"""Start the page: on a Hugging Face Space and on your own computer alike."""

import sys

from vit_demo.common.errors import UserError
from vit_demo.ui.app import serve

if __name__ == "__main__":
    try:
        serve()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
