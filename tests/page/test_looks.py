"""Languages, widths, themes, screen readers, and what the preflight finds drawn on the picture."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route

from dice_talk.kinds import Family
from tests.conftest import Service
from tests.page.steps import choose, offering, scrolls_sideways, shorten, watch_video

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores

HAN = re.compile(r"[\u4e00-\u9fff]")


def test_chinese(visit: Callable[..., Any], real_service: Service, bad_pictures: dict[str, Path], speech: Path) -> None:
    page = visit(real_service.url, refusals=True, locale="zh-CN")
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert page.inner_text("h1") == "让照片开口说话"
    assert page.locator("label[for=emotion-contempt]").inner_text().strip() == "轻蔑"
    page.click("#options summary")
    for words in page.locator(".field label, .field .hint").all_inner_texts():
        assert HAN.search(words), words
    choose(page, bad_pictures["small"], speech)
    page.click("#submit")
    page.get_by_text("照片太小：32 × 32").first.wait_for()
    page.click("#language")
    assert page.inner_text("h1") == "Make a portrait speak"
    page.reload()
    assert page.inner_text("h1") == "Make a portrait speak"
    assert not HAN.search(page.locator("main").inner_text())


def test_errors_are_said_in_chinese_by_their_codes(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url, locale="zh-CN")

    def told(code: str, error: str, detail: str | None = None, **params: object) -> str:
        facts = {"code": code, "error": error, "detail": detail, "params": params}
        call = "facts => import('/web/texts.js').then(({ fromServer }) => fromServer(facts))"
        return str(page.evaluate(call, facts))

    assert told("image_too_small", "", width=32, height=33, least=64) == "照片太小：32 × 33。每边至少 64 像素。"
    assert told("queue_full", "") == "排队的任务过多。", "what has no figures is left out"
    assert (
        told("value_out_of_range", "", field="fps", low=8, high=60, got="100")
        == "“每秒帧数”必须在 8 到 60 之间，当前值为 100。"
    )
    assert told("field_missing", "", field="emo_scale") == "缺少“情绪强度”。"
    assert told("field_missing", "", field="callback_url") == "缺少 callback_url。"
    webp = {"kind": "a WebP picture", "kind_id": "webp", "command": "magick portrait.webp portrait.jpg"}
    assert told("image_type", "", family="picture", **webp) == (
        "照片格式不受支持，请使用 JPEG 或 PNG。文件实际是：WebP 图像。请转换为 JPEG 或 PNG。"
        "转换命令：magick portrait.webp portrait.jpg"
    )
    for family in Family:
        assert HAN.search(told("audio_type", "", family=family.name.lower()).replace("录音格式不受支持，请使用", ""))


def test_english_words_are_never_within_chinese_ones(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url, locale="zh-CN")

    def told(code: str | None, error: str, detail: str | None = None, **params: object) -> list[str]:
        facts = {"code": code, "error": error, "detail": detail, "params": params}
        call = (
            "facts => import('/web/texts.js').then(({ fromServer, original }) => [fromServer(facts), original(facts)])"
        )
        return list(page.evaluate(call, facts))

    new = {"kind": "a new picture", "kind_id": "new", "family": "of_a_later_release", "command": ""}
    assert told("image_type", "", **new) == ["照片格式不受支持，请使用 JPEG 或 PNG。", ""]
    large = told("image_too_many_pixels", "", width=8000, height=7000, most=50)
    assert large == ["照片的像素过多：8000 × 7000。最多 5000 万像素。", ""]
    assert told("render_failed", "No mouth", "Try again.") == ["无法生成视频。", "No mouth. Try again."]
    unknown = "服务器返回了未知的错误。"
    assert told("of_a_later_release", "Something new", "Do this.") == [unknown, "Something new. Do this."]
    assert told(None, "No code at all") == [unknown, "No code at all."]
    assert told("image_too_small", "The image is too small") == [unknown, "The image is too small."], "no values"
    assert told(None, "") == ["", ""], "the page then names the status"
    page.click("#language")
    assert told("render_failed", "No mouth", "Try again.") == ["No mouth. Try again.", ""]
    assert told("audio_type", "Wrong", "Make it: a b.wav", command="a b.wav") == ["Wrong. Make it: a b.wav", ""]


def test_both_languages_say_the_same_things(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url)
    code = """() => import('/web/texts.js').then(({ tables }) =>
        [tables.en, tables.zh].map((table) => Object.entries(table).map(([key, text]) =>
            [key, (text.match(/\\{\\w+\\}/g) ?? []).sort().join()])))"""
    english, chinese = map(dict, page.evaluate(code))
    assert {key for key in chinese if not key.endswith(".help")} == set(english)
    assert {key: chinese[key] for key in english} == english
    fields = {
        f"option.{name}" for name in page.evaluate("[...document.querySelectorAll('.fields [name]')].map(f => f.name)")
    }
    assert fields <= set(english)
    assert {f"{name}.help" for name in fields} <= set(chinese)


@pytest.mark.parametrize(
    ("width", "locale", "scheme"),
    [(360, "en-US", "dark"), (360, "zh-CN", "light"), (1280, "en-US", "dark"), (1280, "zh-CN", "light")],
)
def test_nothing_sticks_out_and_axe_finds_nothing(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path, width: int, locale: str, scheme: str
) -> None:
    page = visit(
        real_service.url,
        viewport={"width": width, "height": 740},
        locale=locale,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    axe = Axe()

    def look(where: str) -> None:
        found = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in axe.run(page).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert (where, found, scrolls_sideways(page)) == (where, [], False)

    look("empty")
    choose(page, portrait, speech)
    shorten(page)
    look("chosen")
    page.fill("#option-fps", "1000")
    look("a wrong option")
    page.click("#options-reset")
    shorten(page)
    page.click("#submit")
    watch_video(page)
    page.click("#details summary")
    look("video")
    page.click("#camera, [data-view=portrait]")
    page.click("#camera")
    page.locator("#camera-dialog video").wait_for()
    look("camera")


def test_targets_are_large_enough_for_thumbs(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    page = visit(real_service.url, viewport={"width": 360, "height": 740})
    choose(page, portrait, speech)
    code = """() => [...document.querySelectorAll('button, .button, label[for^=emotion]')]
        .map((e) => [e.id || e.className, e.getBoundingClientRect()])
        .filter(([, box]) => box.width && Math.min(box.width, box.height) < 24).map(([name]) => name)"""
    assert page.evaluate(code) == []


ANSWER = {
    "image": {
        "width": 512,
        "height": 512,
        "faces": [
            {"index": 0, "left": 160, "top": 60, "width": 160, "height": 180},
            {"index": 1, "left": 380, "top": 200, "width": 80, "height": 90},
        ],
        "crop": {"left": 80, "top": 0, "width": 320, "height": 320},
        "output": {"width": 256, "height": 256},
        "overlay": "data:,",
    },
    "audio": None,
    "warnings": [
        {"code": "several_faces", "message": "Choose with face_index."},
        {"code": "dark_face", "message": "The picture is dark. Use one with more light on the face."},
    ],
    "engine": "lite",
    "eta_seconds": {"low": 2.0, "high": 4.0},
}


def test_what_the_preflight_finds(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    asked: list[str] = []

    def answer(route: Any) -> None:
        body = route.request.post_data_buffer
        asked.append(body.decode("latin-1"))
        is_image = b'name="image"' in body
        route.fulfill(json=ANSWER if is_image else {**ANSWER, "image": None, "warnings": []})

    def prepare(page: Any) -> None:
        def change(schema: dict[str, Any]) -> None:
            schema["paths"].setdefault("/api/v1/preflight", {}).setdefault("post", {})
            schema["components"]["schemas"]["RenderForm"]["properties"]["face_index"] = {"type": "integer"}

        from tests.page.steps import document

        document(page, change)
        page.route("**/preflight", answer)

        def note(route: Route) -> None:
            asked.append((route.request.post_data_buffer or b"").decode("latin-1"))
            route.abort()

        page.route("**/start", note)

    page = visit(real_service.url, refusals=True, prepare=prepare)
    choose(page, portrait, speech)
    page.get_by_text("2 faces found").wait_for()
    page.get_by_text("The picture is dark.").wait_for()
    page.get_by_text("It will take about 3 s.").wait_for()
    assert page.locator(".warning").count() == 1
    page.click("#language")
    page.get_by_text("脸部很暗。").wait_for()
    page.click("#language")
    picture, box = page.locator("#picture").bounding_box(), page.locator(".face-box").first.bounding_box()
    assert box["x"] - picture["x"] == pytest.approx(picture["width"] * 160 / 512, abs=1)
    assert box["height"] == pytest.approx(picture["height"] * 180 / 512, abs=1)
    assert page.locator(".crop").count() == 1
    page.get_by_role("button", name="Face 2 of 2").click()
    assert page.get_by_role("button", name="Face 2 of 2").get_attribute("aria-pressed") == "true"
    page.wait_for_timeout(200)
    assert 'name="face_index"\r\n\r\n1' in asked[-1]
    page.click("#submit")
    page.get_by_text("The server could not be reached.").wait_for()
    assert 'name="face_index"\r\n\r\n1' in asked[-1]


def test_events_are_read_and_taken_up_again(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    seen: list[str | None] = []
    base = {
        "status": "PROCESSING",
        "progress": 0.4,
        "message": "…",
        "stage": "render",
        "frame": 40,
        "frames": 100,
        "eta_seconds": {"low": 8, "high": 12},
    }

    def answer(route: Any) -> None:
        import json

        seen.append(route.request.headers.get("last-event-id"))
        if len(seen) == 1:
            states = [base, {**base, "progress": 0.6, "frame": 60}]
            text = "".join(
                f": alive\r\n\r\nid: {i + 1}\r\nevent: state\r\ndata: {json.dumps(s)}\r\n\r\n"
                for i, s in enumerate(states)
            )
        else:
            page.wait_for_timeout(1)
            address = route.request.url.partition("/events")[0] + "/status"
            state = route.fetch(url=address).json()
            text = f"id: 9\nevent: state\ndata: {json.dumps(state)}\n\n"
        route.fulfill(body=text, content_type="text/event-stream")

    def prepare(page: Any) -> None:
        offering(page, "/api/v1/synthesis/{task_id}/events", "get")
        page.route("**/events*", answer)

    page = visit(real_service.url, prepare=prepare)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    page.get_by_text("frame 60 of 100 · about 10 s left").wait_for()
    watch_video(page)
    assert seen[:2] == [None, "2"]


def test_no_motion_where_none_is_wanted(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url, reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().length") == 0
