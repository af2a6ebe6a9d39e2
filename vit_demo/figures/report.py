"""All that Look inside shows of one photo, as pictures, charts and numbers in a folder, without a browser or
a server.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from vit_demo.common.words import label_title
from vit_demo.explain.attribution import trust
from vit_demo.explain.attribution.faithfulness import Curves, centred_heat, curves, random_heat
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.explain.attribution.occlusion import occlusion
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.internals.costs import Encoder
from vit_demo.explain.internals.distance import attention_distance, even_distance
from vit_demo.explain.internals.filters import embedding_filters
from vit_demo.explain.internals.heads import attention_from, patch_maps
from vit_demo.explain.internals.lens import layer_similarity, logit_lens, mutual_similarity
from vit_demo.explain.internals.norms import artefact_patches, outliers, token_norms
from vit_demo.explain.internals.positions import (
    can_interpolate,
    learned_positions,
    probabilities_at,
    resolutions,
    similarities,
)
from vit_demo.explain.internals.tokens import token_steps
from vit_demo.explain.internals.trace import Trace, trace
from vit_demo.figures import heads, layers, positions, tokens
from vit_demo.figures.costs import HEADER, all_ways, costs_figure, vit_name
from vit_demo.figures.overlay import draw_grid
from vit_demo.figures.showcase import Showcase
from vit_demo.figures.trust import curves_figure
from vit_demo.figures.why import map_overlay
from vit_demo.model.abstention import temperature_of
from vit_demo.model.classifier import LeafClassifier

SIDE = 448
# So many classes get a line in a chart, the likeliest; the files have all.
CLASSES = 6
Report = Callable[[str, int, int], object]


@dataclass(frozen=True)
class _Scene:
    """What all sections draw from. seen: the photo as the model gets it. target: names its class. report: is
    told how far the slow parts are.
    """

    classifier: LeafClassifier
    picture: Image.Image
    seen: Image.Image
    trace: Trace
    target: Target
    report: Report

    @property
    def labels(self) -> list[str]:
        return self.classifier.labels

    @property
    def label(self) -> str:
        """The class that is explained, as the model calls it."""
        return self.labels[cast("int", self.target.label)]

    @property
    def pixel_values(self) -> torch.Tensor:
        return torch.from_numpy(self.trace.pixel_values)[None].to(self.classifier.device)

    @property
    def large(self) -> Image.Image:
        """The photo as the model gets it, large enough for a page."""
        scale = SIDE / max(self.seen.size)
        return self.seen.resize(
            (round(self.seen.width * scale), round(self.seen.height * scale)), Image.Resampling.LANCZOS
        )

    def explained(self) -> str:
        """The class that is explained, for people."""
        other = (
            "" if self.target.against is None else f" against {label_title(self.labels[self.target.against])}"
        )
        return label_title(self.label) + other

    def likeliest(self, probabilities: np.ndarray) -> list[int]:
        """The classes of a chart: the CLASSES that were ever the likeliest in any row of (R, C)."""
        chosen: list[int] = np.argsort(-probabilities.max(axis=0), kind="stable")[:CLASSES].tolist()
        return chosen


def write_everything(
    classifier: LeafClassifier, photo: Image.Image, target: Target, folder: Path, report: Report
) -> list[str]:
    """Fill an empty folder with all figures and numbers of a photo, and an index.html that shows them.
    Returns the names of the files.

    target: with its class named. report: is told what is done, the steps done and their number.
    """
    followed = trace(classifier, photo, temperature=temperature_of(classifier))
    seen = Image.fromarray(classifier.resize([photo])[0].permute(1, 2, 0).numpy())
    scene = _Scene(classifier, photo, seen, followed, target, report)
    best = int(followed.logits.argmax())
    said = (
        f"The model {classifier.checkpoint.name} says {label_title(classifier.labels[best])}"
        f" ({followed.probabilities[best]:.1%})."
    )
    show = Showcase(folder, "Inside a Vision Transformer", f"{said} Explained here: {scene.explained()}.")
    for title, write in SECTIONS.items():
        print(f"{title} ...", file=sys.stderr, flush=True)
        show.section(title)
        write(scene, show)
    return show.finish()


def _answer(scene: _Scene, show: Showcase) -> None:
    shares = scene.trace.probabilities
    show.picture(
        "photo",
        scene.large,
        "The photo as the model gets it",
        f"Resized to {scene.seen.width} x {scene.seen.height} pixels, drawn larger here.",
    )
    rows = [
        (scene.labels[index], float(shares[index]), float(scene.trace.logits[index]))
        for index in np.argsort(-shares)
    ]
    show.table("answer", ("class", "probability", "logit"), rows, "probability and logit of each class.")


def _tokens(scene: _Scene, show: Showcase) -> None:
    # Here, for it brings the library of the page along.
    steps = token_steps(scene.classifier, scene.trace.pixel_values)
    grid, middle = steps.grid, steps.grid.num_patches // 2
    show.picture(
        "patches",
        draw_grid(scene.seen, grid),
        "The patches, pulled apart",
        f"{grid.rows} x {grid.columns} = {grid.num_patches} patches of {grid.patch_size} x {grid.patch_size}"
        " pixels; each becomes one token.",
    )
    show.picture(
        "tokens",
        tokens.matrix_picture(steps.tokens, middle),
        "The tokens that enter the first layer",
        f"A row a token, {steps.tokens.shape[1]} values each: [CLS] first, then the patches row by row; red"
        " is above zero, blue below.",
    )
    maps = {} if steps.feature_map is None else {"feature_map": steps.feature_map}
    show.arrays(
        "tokens",
        "each step from pixels to tokens: values, projected, with [CLS], positions, tokens, and the tokens"
        " after each layer (hidden).",
        pixel_values=steps.pixel_values,
        values=steps.values,
        projected=steps.projected,
        with_cls=steps.with_cls,
        positions=steps.positions,
        tokens=steps.tokens,
        hidden=scene.trace.hidden,
        **maps,
    )
    ways = all_ways(Encoder.of(scene.classifier.model.config), max(scene.seen.size))
    figure = costs_figure(ways, vit_name(grid.patch_size), "FLOPs")
    show.chart(
        "costs", figure, "What attention costs", "FLOPs of a forward, for patches and for pixels as tokens."
    )
    show.table(
        "costs",
        HEADER,
        [
            (way.name, at, cost.tokens, cost.pairs, cost.flops, cost.attention_flops, cost.attention_bytes)
            for way in ways
            for at, cost in way.costs.items()
        ],
        "the lines of the chart, with pairs and memory.",
    )


def _filters(scene: _Scene, show: Showcase) -> None:
    found = embedding_filters(scene.classifier.model)
    if found.ratio is None:
        sheet = positions.filter_sheet(found.tiles)
        show.picture(
            "filters",
            sheet,
            "Kernels of the first convolution",
            "The CNN in front of this hybrid reads the pixels with these.",
        )
        show.arrays("filters", "the kernels.", filters=found.tiles)
        return
    show.picture(
        "filters",
        positions.filter_sheet(found.tiles),
        "Principal components of the patch embedding's filters",
        f"The first {len(found.tiles)} of {found.of}; together {found.ratio.sum():.1%} of the variance"
        " between the filters.",
    )
    show.chart(
        "variance",
        positions.variance_figure(found.ratio),
        "How much each component holds",
        "Share of the variance between the filters.",
    )
    show.arrays(
        "filters",
        "the components and their shares of the variance.",
        filters=found.tiles,
        explained_variance_ratio=found.ratio,
    )


def _positions(scene: _Scene, show: Showcase) -> None:
    learned = learned_positions(scene.classifier.model)
    middle = learned.shape[0] // 2, learned.shape[1] // 2
    maps = similarities(learned)
    show.picture(
        "position_similarity",
        positions.similarity_sheet(maps, middle),
        "Which positions are alike",
        "A small map a position: cosine similarity of its embedding with all others, red for alike, blue for"
        " opposite; the middle one is framed.",
    )
    show.arrays(
        "position_similarity",
        "the position embeddings and their cosine similarities.",
        positions=learned,
        similarities=maps,
    )
    distances, even = attention_distance(scene.trace.attention), even_distance(scene.trace.grid)
    show.chart(
        "attention_distance",
        positions.distance_figure(distances, even),
        "How far each head looks",
        "Mean attention distance in pixels, a dot a head; one that looked everywhere alike would have"
        f" {even:.0f} px.",
    )
    rows = [
        (layer, head, float(far))
        for layer, of_layer in enumerate(distances)
        for head, far in enumerate(of_layer)
    ]
    show.table(
        "attention_distance",
        ("layer", "head", "mean attention distance (px)"),
        rows,
        "mean attention distance of each head.",
    )
    if can_interpolate(learned):
        _resolutions(scene, show)


def _resolutions(scene: _Scene, show: Showcase) -> None:
    own = scene.trace.grid
    said = {
        size: probabilities_at(scene.classifier, scene.picture, size, scene.trace.temperature)
        for size in resolutions(own)
    }
    lines = {
        label_title(scene.labels[index]): [float(shares[index]) for shares in said.values()]
        for index in scene.likeliest(np.stack(list(said.values())))
    }
    show.chart(
        "resolutions",
        positions.answers_figure([height for height, _ in said], lines, own.image_height),
        "The same photo at other resolutions",
        "What the model says with its positions interpolated in 2D.",
    )
    rows = [(*size, *map(float, shares)) for size, shares in said.items()]
    show.table(
        "resolutions",
        ("height (px)", "width (px)", *scene.labels),
        rows,
        "probability of each class at each resolution.",
    )


def _attention(scene: _Scene, show: Showcase) -> None:
    attention = scene.trace.attention
    maps = patch_maps(attention)
    show.picture(
        "all_heads",
        heads.matrix_sheet(maps, attention.grid, None, None),
        "Attention from [CLS], all layers and heads",
        "A column a layer, a row a head; each is bright where its own attention is most.",
    )
    show.picture(
        "last_layer_heads",
        heads.heads_sheet(scene.seen, maps[-1], attention.grid, None, None),
        "The heads of the last layer",
        "Attention from [CLS] over the photo.",
    )
    show.arrays(
        "attention",
        "what [CLS] pays to each token (token 0 is [CLS]), by layer and head.",
        cls_attention=attention_from(attention),
    )


def _maps(scene: _Scene, show: Showcase) -> None:
    maps = {}
    for method in METHODS:
        if method == "occlusion":
            report = functools.partial(scene.report, "Occlusion: squares covered")
            maps[method] = occlusion(
                scene.classifier, scene.pixel_values, scene.target, report=report
            ).numpy()
        else:
            maps[method] = saliency(scene.classifier, scene.pixel_values, method, scene.target)[0].numpy()
        about = (
            "Where [CLS] looks, whatever the class."
            if not METHODS[method].for_class
            else f"What speaks for {scene.explained()}."
        )
        show.picture(
            f"map_{method}",
            map_overlay(scene.seen, maps[method]),
            METHODS[method].title.split(" (slow")[0],
            f"{about} Bright is most.",
        )
    settings = {
        "label": scene.label,
        "against": "" if scene.target.against is None else scene.labels[scene.target.against],
    }
    show.arrays(
        "maps",
        "the maps of all methods, (rows, columns).",
        **maps,
        **settings,
        patch_size=scene.trace.grid.patch_size,
    )
    _curves(scene, show, maps)


def _curves(scene: _Scene, show: Showcase, maps: dict[str, np.ndarray]) -> None:
    grid = scene.trace.grid
    heats = {**maps, trust.RANDOM: random_heat(grid, 0), trust.CENTRED: centred_heat(grid)}
    found: dict[str, Curves] = {}
    for number, (name, heat) in enumerate(heats.items(), start=1):
        found[name] = curves(scene.classifier, scene.pixel_values, heat, scene.target)
        scene.report("Deletion and insertion: maps", number, len(heats))
    label = label_title(scene.label)
    show.chart(
        "trust",
        curves_figure(found, label),
        "How far the maps can be trusted",
        "A faithful map lets the probability fall fast when its patches are covered and rise fast when they"
        " come back; random and centred know nothing.",
    )
    show.table(
        "curves",
        ("map", "share of the patches", "deletion: probability", "insertion: probability"),
        [
            (name, *map(float, row))
            for name, one in found.items()
            for row in zip(one.shares, one.deletion, one.insertion)
        ],
        "the curves.",
    )
    show.table(
        "areas",
        ("map", "deletion area (smaller is better)", "insertion area (larger is better)"),
        [(name, one.deletion_area, one.insertion_area) for name, one in found.items()],
        "the areas under the curves.",
    )
    correlations = trust.sanity(scene.classifier, [([0], scene.pixel_values)], trust.Plan())
    show.table(
        "sanity",
        ("map", "drawn anew", "rank correlation with the map"),
        [
            (method, part, float(values[0]))
            for method, parts in correlations.items()
            for part, values in parts.items()
        ],
        "how alike each map stays when weights of the model are drawn anew; near 1 it does not show what the"
        " model has learned.",
    )


def _layers(scene: _Scene, show: Showcase) -> None:
    hidden, grid, labels = scene.trace.hidden, scene.trace.grid, scene.labels
    lens, norms = logit_lens(scene.classifier, hidden, scene.trace.temperature), token_norms(hidden)
    similar, mutual = layer_similarity(hidden[:, 1:]), mutual_similarity(hidden[:, 1:])
    shown, artefacts = scene.likeliest(lens.probabilities), artefact_patches(hidden)
    show.chart(
        "lens",
        layers.lens_figure(lens.probabilities[:, shown], [label_title(labels[index]) for index in shown]),
        "If each layer were the last",
        "The final norm and the head read [CLS] after each layer.",
    )
    show.chart(
        "layer_similarity",
        layers.similarity_figure(similar),
        "The same patch after two layers",
        "Cosine similarity; 1 where nothing changed.",
    )
    show.chart(
        "patch_similarity",
        layers.mutual_figure(mutual),
        "Different patches of the photo",
        "Mean cosine similarity; near 1 all say the same.",
    )
    show.chart(
        "norms",
        layers.norms_figure(norms),
        "Length of the tokens",
        "L2 norm after each layer, on a logarithmic scale.",
    )
    framed = np.flatnonzero(outliers(norms[-1, 1:]))
    show.picture(
        "norms",
        layers.norms_overlay(scene.large, norms[-1, 1:], grid, framed),
        "Norm of each patch after the last layer",
        f"Bright is longest. {len(artefacts)} patches stand far above the others after some layer; maps that"
        " light up there may mislead.",
    )
    rows = [
        (name, labels[winner], *map(float, (alike, norm[0], np.median(norm[1:]), norm[1:].max(), *shares)))
        for name, winner, alike, norm, shares in zip(
            layers.layer_names(len(norms)), lens.winners, mutual, norms, lens.probabilities
        )
    ]
    header = (
        "after layer",
        "would say",
        "patch similarity (cosine)",
        "[CLS] norm",
        "median patch norm",
        "longest patch norm",
    )
    show.table("layers", (*header, *(f"probability of {label}" for label in labels)), rows, "a row a layer.")
    show.arrays(
        "layers",
        "the same as arrays, with the norm of every token and the similarity between layers.",
        logits=lens.logits,
        labels=np.array(labels),
        probabilities=lens.probabilities,
        layer_similarity=similar,
        cls_layer_similarity=layer_similarity(hidden[:, :1]),
        mutual_similarity=mutual,
        norms=norms,
        artefact_patches=artefacts,
    )


# By their headings, in the order in which they stand on the page.
SECTIONS: dict[str, Callable[[_Scene, Showcase], None]] = {
    "The photo and the answer": _answer,
    "From photo to tokens": _tokens,
    "Filters": _filters,
    "Positions": _positions,
    "Attention": _attention,
    "Why this answer": _maps,
    "Layer by layer": _layers,
}
