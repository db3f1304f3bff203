from dataclasses import replace

import pytest

from analysis.audit import Row, audit_table, stated_number_of_images
from analysis.paper_tables import audit, main


def places(rule: str) -> set[tuple[str, str, int | None]]:
    return {(one.table, one.model, one.level) for one in audit() if one.rule == rule}


def test_what_is_known_to_be_inconsistent_in_the_paper_is_found() -> None:
    assert places("average against mean of rows") == {
        (table, model, None) for table in "12" for model in ("whole", "split")
    }
    assert places("average equals a row") == {("2", "whole", 9)}
    assert places("cell repeated in another model") == {
        ("5", "split and whole", 5),
        ("5", "split and whole", 9),
    }
    assert places("outlier against its neighbours") == {("5", "split", 6), ("5", "whole", 9)}
    assert places("column that no formula explains") == {
        (table, model, None) for table in ("3-4", "5") for model in ("whole", "split")
    }
    assert [one.text for one in audit() if one.rule == "stated number of images"] == [
        "4608 test images differ from 20% of 33 x 768 = 5069; 30.0 planes would give them"
    ]


def test_the_error_columns_constant_is_that_of_each_model() -> None:
    rule = "column that no formula explains"
    texts = {(one.table, one.model): one.text for one in audit() if one.rule == rule}
    assert "5.86 times" in texts["5", "whole"]
    assert "in 15 rows" in texts["5", "whole"]
    assert "5.97 times" in texts["5", "split"]
    assert "in 13 rows" in texts["5", "split"]  # but for the two cells that are misprinted


def smooth_table() -> list[Row]:
    """Made up: two models, a smooth curve each, consistent columns."""
    rows = []
    for model, offset in (("a", 0.0), ("b", 2.0)):
        for level in range(1, 13):
            psnr = 30 + offset - 0.2 * level - 0.01 * level**2
            mse = 10 ** (-psnr / 10)
            rows.append(
                Row(
                    "9",
                    model,
                    level,
                    f"{mse:.3f}",
                    mse**0.5,
                    round(psnr, 3),
                    round(0.9 + offset / 50 - 0.004 * level, 3),
                )
            )
    return rows


def test_a_sound_table_gives_nothing() -> None:
    rows = smooth_table()
    averages = []
    for model in "ab":
        own = [row for row in rows if row.autoencoder == model]
        values = [
            round(sum(getattr(row, name) for row in own) / len(own), 3)
            for name in ("rmse", "psnr", "ssim")
        ]
        averages.append(Row("8", model, None, "0.001", *values))
    assert audit_table(rows, averages) == []


@pytest.mark.parametrize(
    ("index", "change", "rule"),
    [
        (5, {"psnr": 41.0}, "outlier against its neighbours"),
        (5, {"ssim": 0.5}, "outlier against its neighbours"),
        (17, {"psnr": smooth_table()[5].psnr}, "cell repeated in another model"),
        (5, {"rmse": 0.9}, "column that no formula explains"),
    ],
)
def test_an_error_put_into_another_table_is_found(
    index: int, change: dict[str, float], rule: str
) -> None:
    rows = smooth_table()
    rows[index] = replace(rows[index], **change)
    assert rule in {one.rule for one in audit_table(rows, [])}


def test_a_number_of_images_that_fits() -> None:
    assert stated_number_of_images(5069, planes=33, images_a_plane=768, share=0.2) is None


def test_the_audit_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert "Table 2, whole, level 9: average PSNR 26.441 equals" in capsys.readouterr().out
