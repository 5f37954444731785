from __future__ import annotations

import asyncio

from tests.deploy.standalone.control.conftest import SECONDS, Control
from tests.deploy.standalone.control.helpers import documents, service

WEB, B = ("shop", "web"), ("shop", "b")


def target(control: Control, name: tuple[str, str] = WEB) -> int | str:
    return control.engine.view.world.services[name].ports[0].target


async def test_editing_replacing_and_removing_files(control: Control) -> None:
    control.write(service("web"))
    await control.until(lambda view: WEB in view.world.services)
    control.write(service("web").replace("8080", "9090"))
    await control.until(lambda view: view.world.services[WEB].ports[0].target == 9090)
    (control.folder / "more").mkdir()
    (control.folder / "more" / "b.yml").write_text(service("b"))
    await control.until(lambda view: B in view.world.services)
    (control.folder / "mesh.yaml").unlink()
    await control.until(lambda view: WEB not in view.world.services)
    assert target(control, B) == 8080


async def test_a_file_written_in_two_halves_loses_nothing(control: Control) -> None:
    control.write(documents(service("web"), service("b")))
    await control.until(lambda view: B in view.world.services)
    seen = []
    control.engine.listeners.append(lambda _, view: seen.append(set(view.world.services)))
    text = documents(service("web"), service("b").replace("8080", "1"))
    path = control.folder / "mesh.yaml"
    with path.open("w") as file:
        # Cut within a document: what is there is no object of this name any more.
        file.write(text[: text.index("name: b")])
        file.flush()
        async with asyncio.timeout(SECONDS):
            while not control.engine.view.problems or not seen:
                await control.engine.published.wait()
        file.write(text[text.index("name: b") :])
    await control.until(lambda view: view.world.services[B].ports[0].target == 1)
    assert all({WEB, B} <= services for services in seen)


async def test_bad_content_is_reported_and_the_last_good_stays(control: Control) -> None:
    control.write(service("web"))
    await control.until(lambda view: WEB in view.world.services)
    control.write("apiVersion: [")
    await control.until(lambda view: any("YAML" in p.message for p in view.problems))
    assert target(control) == 8080
    (control.folder / "mesh.yaml").write_bytes(b"\xff\xfe\x00")
    await control.until(lambda view: any("UTF-8" in p.message for p in view.problems))
    assert target(control) == 8080
    control.write(service("web"))
    await control.until(lambda view: not any("UTF-8" in p.message for p in view.problems))


async def test_a_missing_root_is_reported_until_it_is_there(control: Control) -> None:
    control.write(service("web"))
    await control.until(lambda view: WEB in view.world.services)
    moved = control.folder.rename(control.folder.with_name("away"))
    await control.until(lambda view: any("no such file" in p.message for p in view.problems))
    await control.until(lambda view: WEB not in view.world.services)
    moved.rename(control.folder)
    await control.until(lambda view: WEB in view.world.services)
    await control.until(lambda view: view.problems and "no such" not in str(view.problems))
