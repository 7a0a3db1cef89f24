"""View "deeper layers" of the Filters page: any convolution's kernel for one feature map."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import filters
from pages.common import downloads, layout, resources, selection, sheets, texts
from pages.common.selection import Selection
from pages.filters import code, kernels


def show(chosen: Selection, row: DeltaGenerator) -> None:
    """The view; `row` is the place of its controls."""
    model = resources.trained(chosen.network).model
    layers = list(filters.convolutions(model))
    with row:
        layer = selection.choose("Convolution", "convolution", layers, layers[min(1, len(layers) - 1)])
        layer_kernels = filters.kernels(model, layer)
        outputs, inputs, height, width = layer_kernels.shape
        output = selection.number_in_link(f"Feature map (0 to {outputs - 1})", "channel", outputs)
    read = filters.maps_read(model, layer, output)
    of_each = f"each of the {inputs} maps that it reads" if inputs > 1 else f"the one map that it reads, map {read[0]}"
    st.markdown(f"**Kernel {output} of {layer}**: {height} × {width} weights for {of_each}")
    picture = kernels.deeper_sheet(layer_kernels[output], read)
    with layout.stage():
        sheets.show(picture, f"Kernel {output} of {layer}, one picture per input map")
    st.caption("The number below each picture is that of the map it reads. Mid-grey is zero; all on one scale.")
    name, caption = f"{chosen.card.name}-{layer}-{output}.png", f"Kernel {output} of {layer}"
    downloads.picture("Kernel", picture, name, caption)
    downloads.code(code.of_deeper_layer(chosen.network, layer, output, inputs))
    texts.what_to_look_at(
        "Bright weights are positive: the kernel responds where that map is active. Dark ones are negative.",
        "A map whose weights are almost zero plays no part in this feature map.",
        "Deep kernels say little by themselves: look at the maps that they read on the page Feature maps.",
    )
    products = r"\sum_{c} \text{kernel}_{o,c} \star \text{map}_c" if inputs > 1 else r"\text{kernel}_o \star \text{map}"
    st.latex(rf"\text{{output}}_o = \text{{bias}}_o + {products}")
