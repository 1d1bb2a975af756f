"""Sections through each organ: functions that fill a scene, by the organ's name."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from htunet.simulation.distractors import add_fat_lobule, add_vessel
from htunet.simulation.lesions import Outline, is_free
from htunet.simulation.nodules import Nodule, draw_nodule, insert_nodule, moved, placed
from htunet.simulation.physics import BeamGrid, soft_step
from htunet.simulation.scene import LABEL, Layer, Scene, log_uniform
from htunet.simulation.settings import SimulationSettings, whole_number
from htunet.simulation.tissue import Anatomy, draw_anatomy, layered_tissue


def draw_nodules(settings: SimulationSettings, organ: str, grid: BeamGrid, rng: np.random.Generator) -> list[Nodule]:
    """None, one or several, around (0, 0)."""
    if organ == "vessel" or rng.random() < settings.no_lesion:
        return []
    count = whole_number(rng, *settings.several_number) if rng.random() < settings.several else 1
    field = grid.depth_mm * grid.width_mm
    return [draw_nodule(settings, organ, rng, field / (1 if count == 1 else 2.5)) for _ in range(count)]


def _apart(nodules: list[Nodule], grid: BeamGrid, settings: SimulationSettings, rng: np.random.Generator, top: float
           ) -> list[Nodule]:  # fmt: skip
    """Each at a place of its own; those that find none are dropped."""
    kept: list[Nodule] = []
    for nodule in nodules:
        for _ in range(6):
            here = placed(nodule, grid, settings, rng, top)
            if is_free(here.lesion.outline, [one.lesion for one in kept]):
                kept.append(here)
                break
    return kept


def breast(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Scene:
    """Skin, fat, gland, fat, pectoral muscle, ribs; dark lobules and ducts that are no lesions."""
    anatomy = _breast_anatomy(settings, grid, rng)
    nodules = _apart(draw_nodules(settings, "breast", grid, rng), grid, settings, rng, anatomy.skin_mm * 0.8)
    lesions = [nodule.lesion for nodule in nodules]
    scene = Scene.empty(grid, rng, settings)
    scene.tissue, weights = layered_tissue(anatomy, grid, lesions, rng)
    names = ("skin", "fat", "gland", "fat", "muscle", "other")
    scene.labels[:] = np.array([LABEL[name] for name in names], dtype=np.uint8)[np.argmax(weights, axis=0)]
    _, fat, gland, deep_fat, pectoral, _ = weights
    share = np.float32(rng.uniform(0, 0.7))
    scene.streaks(gland + pectoral + share * (fat + deep_fat), rng.uniform(*settings.streaks),
                  rng.uniform(*settings.blotches_db))  # fmt: skip
    for _ in range(round(rng.uniform(*settings.look_alikes))):
        half = log_uniform(rng, 1.5, 9.0)
        lobule = _ellipse(rng, grid, (0.1, 0.8), half, half * rng.uniform(0.25, 0.6))
        if is_free(lobule, lesions):
            add_fat_lobule(scene.tissue, grid, anatomy, rng, lobule)
            scene.labels[lobule.distance(scene.lateral, scene.depth) < 0] = LABEL["fat"]
    for _ in range(int(rng.choice([0, 1, 2], p=settings.ducts))):
        lateral, depth = rng.uniform(-0.45, 0.45) * grid.width_mm, rng.uniform(0.2, 0.7) * grid.depth_mm
        if is_free(Outline(lateral_mm=lateral, depth_mm=depth, half_width_mm=5, half_height_mm=1), lesions):
            add_vessel(scene.tissue, grid, rng, lateral, depth)
    if rng.random() < settings.rib:
        _ribs(scene, [one.outline for one in lesions])
    for nodule in nodules:
        insert_nodule(nodule, scene)
    return scene


def _breast_anatomy(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Anatomy:
    drawn = replace(
        draw_anatomy(rng, grid.depth_mm, settings),
        fat_db=rng.uniform(*settings.fat_db),
        muscle_db=rng.uniform(*settings.muscle_db),
        gland_texture_db=rng.uniform(*settings.texture_db),
        septa=rng.uniform(*settings.septa),
        waviness_mm=rng.uniform(*settings.waviness_mm),
    )
    if rng.random() < settings.fatty:
        whole = drawn.fat_mm + drawn.gland_mm
        thin = rng.uniform(*settings.fatty_gland) * whole
        drawn = replace(drawn, gland_mm=thin, fat_mm=whole - thin)
    return drawn


def _ellipse(
    rng: np.random.Generator, grid: BeamGrid, depths: tuple[float, float], half_width: float, half_height: float
) -> Outline:
    return Outline(
        lateral_mm=float(rng.uniform(-0.5, 0.5) * grid.width_mm),
        depth_mm=float(rng.uniform(*depths) * grid.depth_mm),
        half_width_mm=float(half_width),
        half_height_mm=float(half_height),
        tilt=float(rng.normal(0, 0.2)),
    )


def _ribs(scene: Scene, above: list[Outline]) -> None:
    """One or two ribs, deeper than the lesions: ovals with a bright front and a shadow."""
    grid, rng = scene.grid, scene.rng
    for _ in range(whole_number(rng, *scene.settings.ribs)):
        half = rng.uniform(4, 10)
        rib = _ellipse(rng, grid, (0.45, 0.95), half, half * rng.uniform(0.3, 0.6))
        lowest = max((one.depth_mm + one.half_extent_mm[1] for one in above), default=0.0)
        if rib.depth_mm - rib.half_height_mm > lowest:
            scene.opaque(rib.distance(scene.lateral, scene.depth), "bone")


def thyroid(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Scene:
    """A lobe beside the trachea, or along: strap muscles above, great vessels beside, deep muscle below."""
    scene = Scene.empty(grid, rng, settings)
    skin, fat = rng.uniform(0.8, 2.0), rng.uniform(0.5, 5.0)
    strap = rng.uniform(1.5, 7.0)
    fat, strap = (part * min(1.0, 0.3 * grid.depth_mm / (fat + strap)) for part in (fat, strap))
    top = skin + fat + strap
    fibres = rng.uniform(0.1, 0.6)
    muscle = rng.uniform(*settings.muscle_db)
    scene.layers(
        (
            Layer(tissue="skin", thickness_mm=skin, level_db=rng.uniform(*settings.skin_db), fascia=1.0),
            Layer(tissue="fat", thickness_mm=fat, level_db=rng.uniform(*settings.fat_db), fibres=fibres, fascia=0.6),
            Layer(tissue="muscle", thickness_mm=strap, level_db=muscle, fibres=fibres, fascia=0.9),
            Layer(tissue="other", thickness_mm=1e6, level_db=rng.uniform(-11, 0), fibres=rng.uniform(0.2, 1.0),
                  clouds_db=rng.uniform(1, 4)),
        ),
        rng.uniform(*settings.waviness_mm), float(rng.normal(0, 0.05)), rng.uniform(*settings.septa),
    )  # fmt: skip
    scene.streaks((scene.depth > skin).astype(np.float32), 0.7 * rng.uniform(*settings.streaks),
                  0.5 * rng.uniform(*settings.blotches_db))  # fmt: skip
    level = rng.uniform(*settings.thyroid_db)
    along = rng.random() < settings.thyroid_along
    side = 1 if rng.random() < 0.5 else -1
    half = (rng.uniform(14, 32), rng.uniform(5, 12)) if along else (rng.uniform(6, 14), rng.uniform(5, 13))
    lobe = Outline(
        lateral_mm=float(rng.normal(0, 0.12) * grid.width_mm),
        depth_mm=top + half[1] * rng.uniform(0.85, 1.05),
        half_width_mm=half[0],
        half_height_mm=half[1],
        tilt=float(rng.normal(0, 0.1)),
    )
    nodules = _nodules_within(lobe, draw_nodules(settings, "thyroid", grid, rng), grid, rng, top - 0.4 * strap)
    reach = [lobe, *(nodule.lesion.outline for nodule in nodules)]
    trachea = None if along and rng.random() < settings.trachea_hidden else _trachea(reach, side, top, rng)
    gland = lobe.distance(scene.lateral, scene.depth)
    if trachea is not None:
        isthmus = np.abs(trachea.distance(scene.lateral, scene.depth) - np.float32(1.5)) - rng.uniform(1.0, 3.0)
        gland = np.minimum(gland, np.where(scene.depth < trachea.depth_mm, isthmus, 99))
    for nodule in nodules:  # the gland grows with what is in it
        gland = np.minimum(gland, nodule.lesion.outline.distance(scene.lateral, scene.depth) - rng.uniform(0.4, 2.5))
    gland = gland + scene.noise(3.0, 3.0) * np.float32(0.35)
    texture = np.float32(rng.uniform(*settings.texture_db) * 0.5) * (
        scene.noise(0.7, 0.4) + np.float32(0.7) * scene.noise(3.0, 2.0)
    )
    if rng.random() < settings.diffuse:
        grain = rng.uniform(1.0, 3.5)
        texture -= np.float32(rng.uniform(1, 6)) * np.clip(scene.noise(1.4 * grain, grain) - 0.2, -0.5, 1.5)
    scene.fill(gland, "thyroid", level, texture, rng.uniform(0.3, 1.2))
    for _ in range(int(rng.choice([0, 1, 3], p=settings.colloid))):  # vessels and colloid in the gland
        spot = _ellipse(rng, grid, (0.2, 0.7), rng.uniform(0.5, 2.0), rng.uniform(0.3, 0.8))
        dark = soft_step(np.maximum(spot.distance(scene.lateral, scene.depth), gland), 0.15)
        scene.tissue.echo_db -= np.float32(rng.uniform(6, 22)) * dark
    scene.interface(gland, rng.uniform(0.2, 1.2), 0.25)
    _behind_the_lobe(scene, lobe, along)
    if not along:
        _great_vessels(scene, reach, side)
    if trachea is not None:
        scene.opaque(trachea.distance(scene.lateral, scene.depth), "air", repeats_mm=rng.uniform(1.2, 4))
    for nodule in nodules:
        insert_nodule(nodule, scene)
    return scene


def _nodules_within(
    lobe: Outline, nodules: list[Nodule], grid: BeamGrid, rng: np.random.Generator, top: float
) -> list[Nodule]:
    """Nodules in the lobe, which they may stretch, but not up through the muscle."""
    kept: list[Nodule] = []
    for nodule in nodules:
        width, height = nodule.lesion.outline.half_extent_mm
        lateral = lobe.lateral_mm + rng.uniform(-1, 1) * max(lobe.half_width_mm - width, 1.0)
        depth = lobe.depth_mm + rng.uniform(-1, 1) * max(lobe.half_height_mm - height, 1.0)
        side = max(grid.width_mm / 2 - 0.7 * width, 0.0)
        low, high = top + height, max(top + height, grid.depth_mm - 0.9 * height)
        here = moved(nodule, np.clip(lateral, -side, side), np.clip(depth, low, high))
        if is_free(here.lesion.outline, [one.lesion for one in kept]):
            kept.append(here)
    return kept


def _trachea(reach: list[Outline], side: int, top: float, rng: np.random.Generator) -> Outline:
    """Beside all that ``reach`` holds, on that side; a little of the lobe lies before it."""
    radius = rng.uniform(7, 11)
    edges = [side * one.lateral_mm + one.half_extent_mm[0] * (0.75 if number == 0 else 1.05)
             for number, one in enumerate(reach)]  # fmt: skip
    return Outline(
        lateral_mm=float(side * (max(edges) + radius)),
        depth_mm=float(top + rng.uniform(1.5, 5) + radius),
        half_width_mm=float(radius),
        half_height_mm=float(radius * rng.uniform(0.8, 1.0)),
    )


def _great_vessels(scene: Scene, reach: list[Outline], side: int) -> None:
    """Carotid and jugular on the side away from the trachea."""
    rng = scene.rng
    edge = max(-side * one.lateral_mm + one.half_extent_mm[0] for one in reach)
    radius = rng.uniform(2.2, 4.2)
    carotid = Outline(
        lateral_mm=float(-side * (edge + radius + rng.uniform(0, 2))),
        depth_mm=float(reach[0].depth_mm + rng.uniform(-3, 5)),
        half_width_mm=float(radius),
        half_height_mm=float(radius * rng.uniform(0.85, 1.05)),
    )
    if rng.random() < scene.settings.carotid:
        scene.vessel(carotid, rng.uniform(0.4, 1.5))
    if rng.random() < scene.settings.jugular:
        width = rng.uniform(2.5, 6.0)
        jugular = Outline(
            lateral_mm=float(carotid.lateral_mm - side * (radius + 0.7 * width)),
            depth_mm=float(carotid.depth_mm - rng.uniform(1, 5)),
            half_width_mm=float(width),
            half_height_mm=float(width * rng.uniform(0.25, 0.8)),
            tilt=float(rng.normal(0, 0.3)),
        )
        scene.vessel(jugular, rng.uniform(0.1, 0.6))


def _behind_the_lobe(scene: Scene, lobe: Outline, along: bool) -> None:
    """The deep muscle of the neck, the front of a vertebra."""
    rng = scene.rng
    floor = lobe.depth_mm + lobe.half_height_mm
    if rng.random() < scene.settings.neck_muscle:
        muscle = Outline(
            lateral_mm=lobe.lateral_mm + float(rng.normal(0, 4)),
            depth_mm=floor + rng.uniform(3, 6),
            half_width_mm=rng.uniform(25, 50) if along else rng.uniform(7, 16),
            half_height_mm=rng.uniform(2.5, 5),
            tilt=float(rng.normal(0, 0.15)),
        )
        distance = muscle.distance(scene.lateral, scene.depth)
        scene.fill(distance, "muscle", rng.uniform(-16, -6), 1.5 * scene.noise(4.0, 0.3), 0.6)
        scene.interface(distance, rng.uniform(0.3, 1.4), 0.3)
    if rng.random() < scene.settings.vertebra:
        bone = _ellipse(rng, scene.grid, (0.0, 0.0), rng.uniform(8, 16), rng.uniform(3, 6))
        bone = replace(bone, depth_mm=floor + rng.uniform(10, 18))
        scene.opaque(bone.distance(scene.lateral, scene.depth), "bone")


def _soft_tissue(settings: SimulationSettings, scene: Scene, layers: int) -> float:
    """Skin, fat and ``layers`` muscles with fasciae between; returns where the fat ends."""
    rng, grid = scene.rng, scene.grid
    skin, fat = rng.uniform(0.8, 2.0), rng.uniform(0.05, 0.3) * grid.depth_mm
    sheets = [
        Layer(tissue="skin", thickness_mm=skin, level_db=rng.uniform(*settings.skin_db), fascia=0.8),
        Layer(tissue="fat", thickness_mm=fat, level_db=rng.uniform(*settings.fat_db), fibres=0.6, fascia=1.0),
    ]
    for number in range(layers):
        thickness = 1e6 if number == layers - 1 else rng.uniform(0.15, 0.5) * grid.depth_mm
        sheets.append(
            Layer(tissue="muscle", thickness_mm=thickness, level_db=rng.uniform(*settings.muscle_db),
                  fibres=rng.uniform(0.3, 1.3), clouds_db=rng.uniform(0.8, 2.5), fascia=rng.uniform(0.5, 1.3))
        )  # fmt: skip
    scene.layers(sheets, rng.uniform(*settings.waviness_mm), float(rng.normal(0, 0.08)), rng.uniform(*settings.septa))
    deeper = (scene.depth > skin).astype(np.float32)
    scene.streaks(deeper, 0.7 * rng.uniform(*settings.streaks), 0.6 * rng.uniform(*settings.blotches_db))
    return skin + fat


def muscle(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Scene:
    """Muscles, perhaps over bone, with or without a mass."""
    scene = Scene.empty(grid, rng, settings)
    _soft_tissue(settings, scene, int(rng.integers(1, 4)))
    nodules = _apart(draw_nodules(settings, "muscle", grid, rng), grid, settings, rng, 1.5)
    if rng.random() < settings.bone:
        bone = _ellipse(rng, grid, (0.85, 1.1), rng.uniform(8, 25), rng.uniform(4, 9))
        if is_free(bone, [one.lesion for one in nodules], 0.5):
            scene.opaque(bone.distance(scene.lateral, scene.depth), "bone")
    for nodule in nodules:
        insert_nodule(nodule, scene)
    return scene


def lymph_node(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Scene:
    """A node in fat and muscle: dark cortex, in benign ones a bright hilum. The whole node counts as the lesion."""
    scene = Scene.empty(grid, rng, settings)
    _soft_tissue(settings, scene, int(rng.integers(1, 3)))
    nodules = _apart(draw_nodules(settings, "lymph_node", grid, rng), grid, settings, rng, 1.5)
    if rng.random() < settings.node_vessel:
        tube = _ellipse(rng, grid, (0.3, 0.8), rng.uniform(15, 60), rng.uniform(0.8, 2.5))
        if is_free(tube, [one.lesion for one in nodules], 0.5):
            scene.vessel(tube, rng.uniform(0.3, 1.2))
    for nodule in nodules:
        lesion = nodule.lesion
        hilum = settings.hilum if lesion.class_name == "benign" else settings.malignant_hilum
        contrast = rng.uniform(*settings.node_db)
        lesion = replace(lesion, pattern="hypoechoic", contrast_db=contrast, halo_db=0.0, strands=False)
        node = replace(nodule, lesion=lesion, cystic_share=0.0, tissue="lymph node", coarse_calcification=False)
        insert_nodule(replace(node, hilum=bool(rng.random() < hilum)), scene)
    return scene


def prostate(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Scene:
    """The gland below the bladder's or the rectum's wall, its darker inner part, perhaps a focus in it."""
    scene = Scene.empty(grid, rng, settings)
    _soft_tissue(settings, scene, int(rng.integers(1, 3)))
    gland = _ellipse(
        rng, grid, (0.4, 0.6), rng.uniform(0.25, 0.4) * grid.width_mm, rng.uniform(0.2, 0.32) * grid.depth_mm
    )
    gland = replace(gland, lateral_mm=0.15 * gland.lateral_mm)
    distance = gland.distance(scene.lateral, scene.depth) + 0.5 * scene.noise(8.0, 6.0)
    scene.fill(distance, "prostate", rng.uniform(*settings.prostate_db), 1.5 * scene.noise(1.0, 0.6), 1.0)
    scene.interface(distance, rng.uniform(0.4, 1.4), 0.4)
    inner = distance + np.float32(rng.uniform(0.3, 0.6) * gland.half_height_mm)
    scene.fill(inner, "prostate", rng.uniform(*settings.inner_prostate_db), 2.5 * scene.noise(2.5, 1.5), 2.0)
    for nodule in draw_nodules(settings, "prostate", grid, rng)[:1]:
        half = max(nodule.lesion.outline.half_extent_mm)
        shrink = min(1.0, 0.6 * gland.half_height_mm / half)
        outline = nodule.lesion.outline
        outline = replace(
            outline, half_width_mm=outline.half_width_mm * shrink, half_height_mm=outline.half_height_mm * shrink
        )
        small = replace(nodule, lesion=replace(nodule.lesion, outline=outline))
        lateral = gland.lateral_mm + rng.uniform(-0.5, 0.5) * gland.half_width_mm
        insert_nodule(moved(small, lateral, gland.depth_mm + rng.uniform(-0.4, 0.4) * gland.half_height_mm), scene)
    return scene


def vessel(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Scene:
    """Arteries and veins in muscle, mostly cut along; across, two beside each other, or they would look like cysts."""
    scene = Scene.empty(grid, rng, settings)
    _soft_tissue(settings, scene, int(rng.integers(1, 4)))
    tube = _ellipse(rng, grid, (0.35, 0.75), rng.uniform(30, 90), log_uniform(rng, 1.0, 4.5))
    if rng.random() < settings.vessel_along:
        scene.vessel(replace(tube, tilt=0.5 * tube.tilt), rng.uniform(0.4, 1.6))
        return scene
    artery = replace(tube, half_width_mm=tube.half_height_mm, lateral_mm=0.6 * tube.lateral_mm)
    flat = rng.uniform(0.4, 0.8)
    side = 1 if rng.random() < 0.5 else -1
    vein = replace(
        artery,
        lateral_mm=artery.lateral_mm + side * 2.1 * artery.half_width_mm,
        half_width_mm=artery.half_width_mm * 1.2,
        half_height_mm=artery.half_height_mm * flat,
    )
    scene.vessel(artery, rng.uniform(1.0, 2.0))
    scene.vessel(vein, rng.uniform(0.3, 1.0))
    return scene


SCENES: dict[str, Callable[[SimulationSettings, BeamGrid, np.random.Generator], Scene]] = {
    "breast": breast,
    "thyroid": thyroid,
    "lymph_node": lymph_node,
    "prostate": prostate,
    "muscle": muscle,
    "vessel": vessel,
}
