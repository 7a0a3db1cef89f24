"""The Network page: its table, diagram and single convolution, for every shipped network and from bad links."""

import base64
import re
from xml.etree import ElementTree

import pytest
import streamlit as st

from engine import batch_statistics, checkpoints, data, effective_field, network, pictures, weights
from engine.graph.receptive_field import receptive_field
from engine.network import convolution, deconvnet_layer, diagram
from pages.common import resources
from pages.network import charts, diagram_drawing, jobs, receptive_fields, step_drawings, svg
from tests.apps import assert_no_error, assert_pictures_have_words, can_be_touched, open_page
from tests.oracles import fingerprint

PAGE = "network/page.py"
SHIPPED = ("lenet", "resnet18")
SHORT = {"DRAWN": 2, "SIZES": (2, 4), "STEPS": 3, "DRAWS": 2}


@pytest.fixture(scope="module", autouse=True)
def _fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


def said(app) -> str:
    return "\n".join(element.value for element in app.markdown)


@pytest.mark.parametrize("checkpoint", SHIPPED)
@pytest.mark.parametrize("view", ["table", "diagram", "one convolution"])
@pytest.mark.parametrize("weights", ["trained", "untrained"])
def test_every_view_opens(checkpoint, view, weights):
    app = open_page(PAGE, checkpoint=checkpoint, view=view, weights=weights)
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert not app.warning


def test_the_table_of_resnet18_at_224_px_is_the_reports():
    app = open_page(PAGE, checkpoint="resnet18", size="224")
    assert_no_error(app)
    table = app.table[0].value
    assert list(table.index) == ["conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "dense"]
    outputs = ["64 × 112 × 112", "64 × 56 × 56", "128 × 28 × 28", "256 × 14 × 14", "512 × 7 × 7", "10"]
    assert list(table["Output"]) == outputs
    assert list(table["Parameters"]) == ["9,536", "147,968", "525,568", "2,099,712", "8,393,728", "5,130"]
    assert "= 11,181,642" in said(app)
    assert "435 × 435 px" in table["Receptive field"]["conv5_x"]


def test_lenet_shows_the_reports_arithmetic_and_is_rebuilt_for_another_size():
    own = open_page(PAGE, checkpoint="lenet")
    assert own.table[0].value["How they are counted"]["conv1"] == "5 × 5 × 3 × 32 + 32"
    assert "2,432 + 51,264 + 204,928 + 131,136 + 650 = 390,410" in said(own)
    larger = open_page(PAGE, checkpoint="lenet", size="224")
    assert_no_error(larger)
    assert any("built for 224 px" in caption.value for caption in larger.caption)
    assert larger.table[0].value["Output"]["conv3"] == "128 × 28 × 28"


def test_every_operation_can_be_listed():
    app = open_page(PAGE, checkpoint="resnet18", rows="every operation")
    assert_no_error(app)
    assert len(app.dataframe[0].value) == 69


@pytest.mark.parametrize("checkpoint", SHIPPED)
def test_the_convolution_shows_the_networks_own_output(checkpoint):
    link = {"channel": "3", "row": "5", "column": "7", "class": "ship", "colour": "green"}
    app = open_page(PAGE, checkpoint=checkpoint, view="one convolution", **link)
    assert_no_error(app)
    trained = checkpoints.load(checkpoint)
    test = data.bundled("test")
    index = int((test.labels == test.classes.index("ship")).nonzero()[0][0])
    card = trained.card
    x = data.prepare(test.images[index : index + 1], card.input_size, card.mean, card.std)
    done = convolution.convolved(trained.model, x, "conv1")
    expected = float(done.output[3, 5, 7])
    total = re.search(r"= \*\*(.*)\*\*", said(app)).group(1)
    assert float(total.replace("−", "-")) == pytest.approx(expected, abs=1e-3)
    step = convolution.window_sum(done, 3, 5, 7)
    assert svg.short(float(step.sums[1]), 3) in said(app)


def test_the_next_place_is_one_to_the_right_and_wraps():
    link = {"view": "one convolution", "checkpoint": "lenet", "row": "4", "column": "31"}
    app = open_page(PAGE, **link)
    app.button("next_position").click().run()
    assert_no_error(app)
    assert (app.number_input("row").value, app.number_input("column").value) == (5, 0)
    app.number_input("row").set_value(31).run()
    app.number_input("column").set_value(31).run()
    app.button("next_position").click().run()
    assert (app.number_input("row").value, app.number_input("column").value) == (0, 0)


def test_the_steps_play_and_stop():
    app = open_page(PAGE, view="one convolution", checkpoint="lenet", row="2", column="2")
    app.toggle("play").set_value(True).run()
    assert_no_error(app)
    assert app.number_input("column").value == 3
    app.toggle("play").set_value(False).run()
    assert app.number_input("column").value == 3


@pytest.mark.parametrize("link", [{"size": "7"}, {"size": "<script>"}, {"view": "nothing"}, {"rows": "all"}])
def test_bad_links_are_told_and_never_show_a_traceback(link):
    app = open_page(PAGE, **link)
    assert_no_error(app)
    assert len(app.warning) == 1


@pytest.mark.parametrize("link", [{"channel": "64"}, {"row": "-1"}, {"column": "many"}])
def test_places_that_do_not_exist_are_told(link):
    app = open_page(PAGE, view="one convolution", **link)
    assert_no_error(app)
    assert app.warning


@pytest.mark.parametrize(("checkpoint", "layer"), [("lenet", "pool3"), ("lenet", "conv3"), ("resnet18", "conv2_x")])
def test_a_deconvnet_layer_shows_its_numbers_step_by_step(checkpoint, layer):
    link = {"checkpoint": checkpoint, "layer": layer, "class": "ship", "view": "one deconvnet layer"}
    app = open_page(PAGE, **link, channel="3", row="2", column="1", reverse="filtered")
    assert_no_error(app)
    assert not app.warning
    assert_pictures_have_words(app)
    trained = checkpoints.load(checkpoint)
    index = int((data.bundled("test").labels == 8).nonzero()[0][0])
    card = trained.card
    x = data.prepare(data.bundled("test").images[[index]], card.input_size, card.mean, card.std)
    done = deconvnet_layer.deconvnet_layer(trained.model, x, layer)
    assert len(app.get("image")) == len(done.parts) + 3
    total = re.search(r"maps = \*\*(.*)\*\*", said(app)).group(1)
    place = re.search(r"(?:map (\d+) below|red|green|blue), row (\d+), column (\d+): (.*) of map 3", said(app))
    below = deconvnet_layer.strongest_kernel(done, 3)
    expected = float(done.filtered[below, int(place[2]), int(place[3])])
    assert total == svg.short(expected, 3)
    app.segmented_control(key="reverse").set_value("switch").run()
    y, x = done.switch(3, 2, 1)
    assert f"{svg.short(float(done.forward[3, y, x]), 3)}, is at row {y}, column {x}: that is the switch" in said(app)
    app.segmented_control(key="reverse").set_value("unpooled").run()
    assert_no_error(app)
    assert f"The signal {svg.short(float(done.signal[3, 2, 1]), 3)} goes to the switch, row {y}" in said(app)
    app.segmented_control(key="reverse").set_value("rectified").run()
    before = float(done.before("rectified")[3, y, x])
    assert ("is negative and becomes 0" if before < 0 else "is not negative and stays") in said(app)


@pytest.mark.parametrize(
    ("checkpoint", "layer", "steps", "places"),
    [
        ("lenet", "conv3", ["u", "r"], "y = p - 2 + k,\\quad x = q - 2 + l"),
        ("resnet18", "conv3_x", ["u", "r", "n"], "y = 2 \\, p - 3 + k,\\quad x = 2 \\, q - 3 + l"),
        ("model_one", "conv3", ["u", "n", "r"], "y = p - 1 + k,\\quad x = q - 1 + l"),
        ("resnet18_strided", "conv3_x", ["r", "n"], "y = 2 \\, p - 1 + k,\\quad x = 2 \\, q - 1 + l"),
    ],
)
def test_the_formulas_of_a_deconvnet_layer_have_its_steps_in_their_order(checkpoint, layer, steps, places):
    app = open_page(PAGE, checkpoint=checkpoint, layer=layer, view="one deconvnet layer")
    assert_no_error(app)
    way, filtered = (formula.value.strip("$\n") for formula in app.latex)
    assert re.findall(r"(\w)_\{c,p,q\} = ", way) == steps
    assert filtered.endswith(places)
    assert rf"\,{steps[-1]}_{{c,p,q}}" in filtered


def test_what_nobody_names_follows_the_strongest_unit_from_image_to_image():
    def unit(app) -> list[int]:
        return [app.number_input(key=key).value for key in ("channel", "row", "column")]

    link = {"view": "one deconvnet layer", "checkpoint": "lenet", "layer": "conv2"}
    app = open_page(PAGE, **link)
    first = unit(app)
    app.selectbox(key="class").set_value("frog").run()
    assert unit(app) == unit(open_page(PAGE, **link, **{"class": "frog"})) != first
    app.number_input(key="row").set_value(1).run()
    app.selectbox(key="class").set_value("ship").run()
    assert unit(app) == unit(open_page(PAGE, **link, **{"class": "ship"}, row="1"))
    assert unit(app)[1] == 1


def test_the_steps_of_a_deconvnet_layer_play():
    app = open_page(PAGE, view="one deconvnet layer", checkpoint="lenet", reverse="rectified")
    for expected in ("filtered", "switch"):
        app.toggle("play").set_value(True).run()
        assert_no_error(app)
        assert app.segmented_control(key="reverse").value == expected
    app.toggle("play").set_value(False).run()
    assert app.segmented_control(key="reverse").value == "switch"


def test_a_network_without_pooling_says_what_there_is_instead():
    app = open_page(PAGE, checkpoint="resnet18_strided", view="one deconvnet layer")
    assert_no_error(app)
    assert "has no max-pooling: its maps shrink by strided convolutions (conv1, layer1.0.conv1" in app.info[0].value
    assert not [caption for caption in app.caption if "its switch" in caption.value]
    assert app.segmented_control(key="reverse").options == ["rectified", "normalised", "filtered"]


def test_receptive_fields_are_measured_on_images_of_each_class(monkeypatch):
    monkeypatch.setattr(jobs, "PER_CLASS", 2)
    jobs._measurements.clear()
    app = open_page(PAGE, checkpoint="lenet", view="receptive fields", layer="conv2_relu")
    settings = jobs.FieldSettings(weights.find("lenet"), ("conv1_relu", "conv2_relu", "conv3_relu"), 32)
    job = jobs.fields_of(settings)
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert not app.warning
    assert_pictures_have_words(app)
    assert can_be_touched(app)
    assert [caption for caption in app.caption if "Click a layer" in caption.value]
    monkeypatch.setattr(type(job), "alive", True)
    app.run()
    assert not can_be_touched(app)
    assert not [caption for caption in app.caption if "Click a layer" in caption.value]
    jobs._measurements.clear()
    found = job.found["conv2_relu"]
    assert found.images == 20
    words = effective_field.in_words(found, receptive_field(checkpoints.load("lenet").model, "conv2_relu"))
    assert app.info[0].value == words
    table = receptive_fields.table(settings, job.found)
    assert table["layer"].tolist() == list(settings.layers)
    assert table["height"].tolist() == [5, 14, 32]
    drawn = receptive_fields.tile(settings, "conv2_relu", found)
    assert (drawn == pictures.FRAME).all(axis=2).any()
    assert (drawn == 255).all(axis=2).any()
    assert len(receptive_fields.layers_of(weights.find("transfer"))) == receptive_fields.MOST


def test_batches_go_through_a_copy_in_training_mode(monkeypatch):
    for name, value in SHORT.items():
        monkeypatch.setattr(jobs, name, value)
    jobs._batches.clear()
    model = checkpoints.load("model_two").model
    before = fingerprint(model)
    app = open_page(
        PAGE, checkpoint="model_two", view="batch norm", channel="5", norm="features.6", **{"class": "ship"}
    )
    assert_no_error(app)
    assert not app.warning
    [job] = [one for one in jobs._batches().all() if one.complete or one.alive]
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert [one.size for one in job.found] == [2, 4]
    assert app.info[0].value == batch_statistics.in_words(job.found)
    assert charts.accuracies(job.found)["accuracy"].between(0, 1).all()
    assert charts.answers(job.found)["batch"].tolist() == ["2", "2", "4", "4"]
    running = charts.running(job.found, 5)
    assert running["mean"].tolist()[:4] == pytest.approx(job.found[0].means[:, 5].tolist())
    assert fingerprint(resources.trained(weights.find("model_two")).model) == before
    without = open_page(PAGE, checkpoint="lenet", view="batch norm")
    assert_no_error(without)
    assert "has no batch norm" in without.info[0].value


# The drawings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lenet", "convnet5", "resnet18_strided"])
def test_the_diagram_is_a_picture_of_every_box_and_arrow(name):
    made = diagram.diagram(network.describe(network.shapes_only(name, 10, 128, {}), 128))
    root = ElementTree.fromstring(diagram_drawing.drawing(made, "black"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}rect")) == len(made.boxes)
    assert len(root.findall(f"{space}path")) == sum(len(box.inputs) for box in made.boxes)
    shapes = [text.text for text in root.findall(f"{space}text")]
    assert all(box.shape in shapes for box in made.boxes)
    width = float(root.get("width"))
    assert all(float(rect.get("x")) + float(rect.get("width")) <= width for rect in root.findall(f"{space}rect"))


def test_words_from_strangers_are_escaped():
    assert "&lt;b&gt;" in svg.text(0, 0, "<b>", 10, "black")


@pytest.mark.parametrize(
    ("value", "written"), [(-0.307, "−0.31"), (0.001, "0.00"), (-0.001, "0.00"), (12.34, "12.3"), (-240.2, "−240")]
)
def test_numbers_are_short(value, written):
    assert svg.short(value) == written


def test_the_products_show_all_three_grids_of_numbers():
    trained = checkpoints.load("lenet")
    picture = data.bundled("test").images[:1]
    x = data.prepare(picture, 32, trained.card.mean, trained.card.std)
    done = convolution.convolved(trained.model, x, "conv1")
    step = convolution.window_sum(done, 0, 0, 0)
    drawn = step_drawings.products(step, 2, "black")
    written = [text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    for values in (step.window, step.kernel, step.products):
        for number in values[2].flatten().tolist():
            assert svg.short(number) in written
    assert svg.short(float(step.sums[2])) in written
    framed = step_drawings.image_with_window(picture[0], done, step)
    assert base64.b64decode(re.search(r"base64,([^\"]+)", framed).group(1)).startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "rectified"), [("resnet18", True), ("transfer", False)])
def test_the_formula_of_a_block_is_that_of_its_boxes(name, rectified):
    app = open_page(PAGE, checkpoint=name, view="diagram")
    assert_no_error(app)
    assert ("ReLU" in app.latex[0].value) == rectified
    assert ("W x" in app.latex[0].value) == rectified  # ResNet-18's first block of a stage
