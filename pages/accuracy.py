"""Accuracy: how often the network is right, class by class, and what it confuses."""

import pandas as pd
import streamlit as st

from engine import evaluation
from engine.checkpoints import Card
from engine.evaluation import Predictions
from pages.common import charts, guard, resources, selection, texts

guard.run_through_app()

ORDERS = ("worst first", "best first", "class order")


def show_overall(predictions: Predictions) -> None:
    """The network's accuracy on all test images, and how sure that figure is."""
    overall = evaluation.accuracy(predictions)
    columns = st.columns(3)
    columns[0].metric("Right", texts.percent(overall.value))
    columns[1].metric("95 % interval", f"{texts.percent(overall.low)} to {texts.percent(overall.high)}")
    columns[2].metric("Test images", f"{overall.total:,}")


def show_classes(card: Card, predictions: Predictions) -> None:
    """A bar per class, in the order that the reader chose."""
    shares = evaluation.accuracy_per_class(predictions)
    table = pd.DataFrame(
        {
            "class": card.classes,
            "accuracy": [share.value for share in shares],
            "low": [share.low for share in shares],
            "high": [share.high for share in shares],
            "right": [share.hits for share in shares],
            "images": [share.total for share in shares],
        }
    )
    order = selection.segments("Order", ORDERS, "order")
    ranked = table.sort_values("accuracy", kind="stable", ascending=order != "best first")
    names = list(table["class"] if order == "class order" else ranked["class"])
    st.altair_chart(charts.class_accuracy_chart(table, names), alt=f"Accuracy per class; {names[0]} comes first")
    texts.csv_download("Table (CSV)", table, f"{card.name}-classes.csv")


def show_confusion(card: Card, predictions: Predictions) -> None:
    """Which classes are taken for which."""
    confusion = evaluation.confusion_matrix(predictions)
    st.altair_chart(
        charts.confusion_chart(card.classes, confusion), alt="Confusion matrix: true against predicted class"
    )
    mistake = evaluation.commonest_mistake(predictions)
    if mistake is not None:
        true, called, count = mistake
        st.markdown(
            f"The commonest mistake: {count} images of **{card.classes[true]}** were called **{card.classes[called]}**."
        )
    table = pd.DataFrame(confusion, columns=card.classes)
    table.insert(0, "true class", card.classes)
    texts.csv_download("Matrix (CSV)", table, f"{card.name}-confusion.csv")


def explain() -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        [
            "Orange strokes hold the true accuracy in 95 of 100 such tests; where they overlap, classes may be equal.",
            "A row of the matrix shows what became of one class: are animals taken for animals, vehicles for vehicles?",
            "The interval is Wilson's; for few images it grows wide, and it never leaves 0 to 100 %:",
        ]
    )
    st.latex(
        r"\frac{p + \frac{z^2}{2n} \pm z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}},\quad z = 1.96"
    )


def main() -> None:
    """The page."""
    card = selection.current().card
    predictions = resources.predictions(card.name).test
    texts.headline(f"How often {card.name} is right about images that it has never seen")
    show_overall(predictions)
    left, right = st.columns(2, gap="large")
    with left:
        show_classes(card, predictions)
    with right:
        show_confusion(card, predictions)
    explain()


with texts.readable_errors():
    main()
