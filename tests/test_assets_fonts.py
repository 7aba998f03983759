"""The fonts of the project are whole, licensed, recorded, and contain what fonts.toml says."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import freetype
import pytest
from fontTools.ttLib import TTFont

ROOT = Path(__file__).resolve().parent.parent
FONTS = ROOT / "assets" / "fonts"
sys.path.insert(0, str(ROOT / "scripts"))
import build_fonts  # noqa: E402  scripts is a folder of programs, not a package

from font_subsets import characters, folder  # noqa: E402
from font_subsets.rows import FontRow, read_rows  # noqa: E402
from font_subsets.sources import SOURCES, Source, check_manifest  # noqa: E402

ROWS = read_rows(FONTS)
HAN = [row for row in ROWS if {"Hant", "Hans"} & set(row.scripts)]

# The same words in both forms: a writer has to be able to write either.
PAIRS = """
    愛爱 罷罢 筆笔 邊边 變变 賓宾 纔才 參参 倉仓 產产 長长 車车 陳陈 稱称 齒齿 蟲虫 處处 傳传
    從从 達达 帶带 單单 當当 黨党 東东 動动 斷断 對对 隊队 爾尔 發发 豐丰 風风 岡冈 個个 廣广
    歸归 龜龟 國国 過过 華华 畫画 匯汇 會会 幾几 夾夹 間间 見见 薦荐 將将 節节 盡尽 進进 舉举
    殼壳 來来 樂乐 離离 歷历 麗丽 兩两 靈灵 劉刘 龍龙 婁娄 盧卢 鹵卤 錄录 慮虑 論论 羅罗 馬马
    買买 賣卖 麥麦 門门 難难 鳥鸟 聶聂 寧宁 農农 齊齐 豈岂 氣气 遷迁 親亲 窮穷 區区 嗇啬 殺杀
    審审 聖圣 師师 時时 壽寿 屬属 雙双 歲岁 孫孙 條条 萬万 為为 韋韦 烏乌 無无 獻献 鄉乡 寫写
    尋寻 亞亚 嚴严 業业 頁页 義义 藝艺 陰阴 隱隐 魚鱼 與与 雲云 鄭郑 執执 質质 專专 點点 體体
    數数 號号 樣样 書书 實实 學学 寶宝
"""


def chars_of(row: FontRow) -> set[int]:
    with TTFont(FONTS / row.file, lazy=True) as font:
        return set(font.getBestCmap())


@pytest.fixture(scope="module")
def cmaps() -> dict[str, set[int]]:
    return {row.file: chars_of(row) for row in ROWS}


def test_every_file_is_listed_and_every_row_has_its_files() -> None:
    listed = {name for row in ROWS for name in (row.file, row.licence_file)} | {"fonts.toml"}
    assert {str(path.relative_to(FONTS)) for path in FONTS.rglob("*")} == listed
    assert len({row.file for row in ROWS}) == len({row.family for row in ROWS}) == len(ROWS)


def test_total_size_stays_below_the_limit() -> None:
    assert sum(path.stat().st_size for path in FONTS.rglob("*")) < build_fonts.LIMIT_BYTES


def test_rows_come_from_the_manifest() -> None:
    sources = {source.stem: source for source in SOURCES}
    check_manifest(SOURCES)
    assert [Path(row.file).stem for row in ROWS] == list(sources)
    for row in ROWS:
        source = sources[Path(row.file).stem]
        assert (row.source, row.style, row.writer, row.licence, row.renamed) == (
            f"{source.package} {source.version}",
            source.style,
            source.writer,
            source.licence,
            source.reserved,
        )


def test_a_row_survives_writing_and_reading(tmp_path: Path) -> None:
    (tmp_path / "fonts.toml").write_text("\n".join(row.to_toml() for row in ROWS), "utf-8")
    assert read_rows(tmp_path) == ROWS


def test_a_row_with_a_wrong_field_is_an_error_that_names_it(tmp_path: Path) -> None:
    text = ROWS[0].to_toml().replace("writer =", "wirter =")
    (tmp_path / "fonts.toml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=rf"{ROWS[0].file}.*writer.*wirter"):
        read_rows(tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_font(row: FontRow) -> None:
    data = (FONTS / row.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == row.sha256
    licence = (FONTS / row.licence_file).read_text("utf-8")
    assert row.file in licence and row.original_family in licence
    assert len(licence) > 1000 or row.licence == "LicenseRef-public-domain"

    with TTFont(FONTS / row.file) as font:
        cmap = font.getBestCmap()
        assert len(cmap) == row.characters
        assert len(characters.big5(1) & set(cmap)) == row.big5_level1
        assert len(characters.gb2312(1) & set(cmap)) == row.gb2312_level1
        assert characters.scripts_of(cmap) == row.scripts
        assert not {"GSUB", "GPOS", "kern", "vmtx", "fpgm", "prep", "cvt "} & set(font.keys())
        names = {record.nameID: record.toUnicode() for record in font["name"].names}
        assert names[1] == row.family
        if row.reserved:
            assert row.renamed
            for name in row.renamed.split(", "):
                # copyright (0) and notice of change (10) must name the author and the source
                shown = [text for key, text in names.items() if key not in (0, 10)]
                assert not any(name.lower() in text.lower() for text in [*shown, row.file])
        else:
            assert row.family == row.original_family or row.original_family.endswith(" others")

    face = freetype.Face(str(FONTS / row.file))
    assert face.family_name.decode() == row.family
    face.set_pixel_sizes(0, 48)
    for char in sorted(cmap)[:: max(1, len(cmap) // 300)]:
        index = face.get_char_index(char)
        assert index > 0, f"U+{char:04X}"
        face.load_glyph(index, freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER)
        blank = not any(face.glyph.bitmap.buffer)
        assert blank == chr(char).isspace(), f"U+{char:04X}"


def test_common_chinese_characters_are_in_three_fonts_that_are_no_writers(cmaps) -> None:
    count = Counter(c for row in ROWS if not row.writer for c in cmaps[row.file])
    assert not [chr(c) for c in sorted(characters.gb2312(1)) if count[c] < 3]
    # Nine rare ones of Big5 level 1 are in two only: 5,392 of 5,401 reach three.
    few = {chr(c): count[c] for c in sorted(characters.big5(1)) if count[c] < 3}
    assert few == dict.fromkeys("姅杗歜涊穋觼詨跦鑤", 2)


def test_writers_are_set_aside_and_the_best_are_not(cmaps) -> None:
    writers = [row for row in ROWS if row.writer]
    assert 3 <= len(writers) <= 4
    assert len([row for row in HAN if not row.writer]) >= 9
    # An alphabet of 80 common characters can be had from three writers in either form, and in
    # both from two; no hand-like free font but those two has both.
    traditional, simplified, both = 0, 0, 0
    for row in writers:
        have = [(ord(p[0]) in cmaps[row.file], ord(p[1]) in cmaps[row.file]) for p in PAIRS.split()]
        traditional += sum(a for a, _ in have) >= 80
        simplified += sum(b for _, b in have) >= 80
        both += sum(a and b for a, b in have) >= 80
    assert (traditional, simplified, both) == (3, 3, 2)


def test_character_sets_have_their_published_sizes() -> None:
    # Big5 level 2 has 7,652 places, two of them for characters that stand elsewhere too
    assert [len(characters.big5(level)) for level in (1, 2)] == [5401, 7650]
    assert [len(characters.gb2312(level)) for level in (1, 2)] == [3755, 3008]
    assert len(characters.jis_level_1()) == 2965
    assert len(characters.ks_syllables()) == 2350


TWO = SOURCES[:2]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that two "fonts", files with their names inside, were built into."""

    def build(source: Source, packages: Path, out: Path) -> tuple:
        row = next(row for row in ROWS if Path(row.file).stem == source.stem)
        for name in (row.file, row.licence_file):
            (out / name).write_text(name)
        return row, ""

    monkeypatch.setattr(build_fonts, "build", build)
    (tmp_path / "fonts.part").mkdir()
    (tmp_path / "fonts.part" / f"{TWO[0].stem}.woff").write_text("half")  # of a killed build
    assert len([*build_fonts.build_all(TWO, tmp_path, tmp_path / "fonts")]) == 3
    return tmp_path / "fonts"


def test_a_build_replaces_what_a_build_made(out: Path) -> None:
    there = sorted(path.name for path in out.iterdir())
    assert len(there) == 5 and not out.with_name("fonts.part").exists()
    (out / ROWS[0].file).write_text("older")
    assert len([*build_fonts.build_all(TWO[:1], out, out)]) == 2
    assert sorted(path.name for path in out.iterdir()) == there
    assert (out / ROWS[0].file).read_text() == ROWS[0].file
    assert [row.file for row in read_rows(out)] == [row.file for row in ROWS[:2]]


@pytest.mark.parametrize("where", ["fonts", "fonts.part", "new", "new.part"])
@pytest.mark.parametrize("sources", [TWO, TWO[:1]], ids=["all", "only"])
def test_a_file_that_no_build_made_is_never_deleted(out: Path, where: str, sources: tuple) -> None:
    mine = out.parent / where / "mine.woff"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("a font of the user")
    with pytest.raises(SystemExit, match=r"holds mine\.woff, which its fonts\.toml does not list"):
        list(build_fonts.build_all(sources, out, out.parent / where.removesuffix(".part")))
    assert mine.read_text() == "a font of the user"


def test_a_file_that_comes_during_the_build_is_not_deleted(out: Path) -> None:
    lines = build_fonts.build_all(TWO, out, out)
    next(lines)
    (out / "mine.woff").write_text("a font of the user")
    with pytest.raises(SystemExit, match=r"holds mine\.woff"):
        list(lines)
    assert (out / "mine.woff").read_text() == "a font of the user"


class Killed(BaseException):
    """What no handler of the program sees."""


@pytest.mark.parametrize("step", range(4))
def test_killed_while_it_exchanges_a_whole_set_stays(
    out: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each of the two renames, and while the old one is deleted."""
    (out / ROWS[0].file).write_text("older")
    steps = iter(range(9))

    def stopped(act: Callable) -> Callable:
        def then(path: Path, *more: object, **options: object) -> object:
            if next(steps) == step:
                if act is shutil.rmtree:
                    (path / "fonts.toml").unlink()  # it had begun
                raise Killed
            return act(path, *more, **options)

        return then

    with monkeypatch.context() as patch:
        patch.setattr(folder.shutil, "rmtree", stopped(shutil.rmtree))
        patch.setattr(Path, "rename", stopped(Path.rename))
        if step < 3:
            with pytest.raises(Killed):
                folder.exchange(_part_beside(out))
        else:
            folder.exchange(_part_beside(out))
    folder.finish_exchange(out)
    assert len(read_rows(out)) == 2 and not out.with_name("fonts.old").exists()
    assert (out / ROWS[0].file).read_text() == ("older" if step == 0 else "newer")
    # and the next build goes on from there
    assert len([*build_fonts.build_all(TWO[1:], out, out)]) == 2
    assert (out / ROWS[0].file).read_text() == ("older" if step == 0 else "newer")
    assert [p.name for p in out.parent.iterdir()] == ["fonts"]


def _part_beside(out: Path) -> Path:
    """A whole new set, not exchanged yet. Returns `out`."""
    part = out.with_name("fonts.part")
    shutil.copytree(out, part)
    (part / ROWS[0].file).write_text("newer")
    return out


def test_the_old_set_comes_back_where_the_new_one_is_not_whole(out: Path) -> None:
    out.rename(out.with_name("fonts.old"))
    (out.with_name("fonts.part")).mkdir()
    folder.finish_exchange(out)
    assert len(read_rows(out)) == 2 and not out.with_name("fonts.old").exists()
    (out.with_name("fonts.old")).mkdir()
    (out.with_name("fonts.old") / "mine.woff").write_text("a font of the user")
    with pytest.raises(SystemExit, match=r"fonts\.old: holds mine\.woff"):
        folder.finish_exchange(out)


@pytest.mark.parametrize("text", ["words", "[[font]]\nfile = 'a'\n", "font = 3\n"])
def test_a_folder_with_a_fonts_toml_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "fonts.toml").write_text(text)
    with pytest.raises(SystemExit, match=r"fonts\.toml: not written by this program"):
        list(build_fonts.build_all(TWO, tmp_path, tmp_path))
    assert (tmp_path / "fonts.toml").read_text() == text


def test_another_folder_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "letter.txt").write_text("words")
    monkeypatch.setattr(build_fonts, "fetch", None)
    line = ["build_fonts.py", str(tmp_path / "work"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit, match=r"holds letter\.txt"):
        build_fonts.main()
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
