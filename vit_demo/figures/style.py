"""What all charts share: colours, letters, and which buttons stand over them."""

GREEN, ORANGE, BLUE = "#15803d", "#c2410c", "#1d4ed8"
FONT = {"family": "system-ui, sans-serif", "size": 13}
# Of the buttons over a plot the camera and the way back from a zoom stay: on a phone all of them would cover
# its label or legend.
MODEBAR = {"remove": ["zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]}
# Told apart also by those who see few colours (Okabe and Ito 2008), with a blue and a brown of their own at
# the end.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A4B1E")
DASHES = ("solid", "solid", "solid", "solid", "dash", "dash", "dash", "dash")


def hover(words: str, name: str = "") -> str:
    """What plotly says of a point. words: with its %{placeholders}. name: of the line, in a box of its
    own.
    """
    return f"{words}<extra>{name}</extra>"
