import pytest

from dataset_conversion.captions.ultrasound import names_another_modality, speaks_of_ultrasound

CHOSEN = r"""
Ultrasound image of the thyroid shows a hypoechoic nodule.
Transabdominal ultrasonography: dilated bile duct.
Sonogram of the liver.
Sonographic appearance of a breast cyst.
Transthoracic echocardiogram, apical four-chamber view.
2D-echocardiography showing a mobile mass.
Echo-cardiography at admission.
Color Doppler of the carotid artery.
Power-Doppler shows no flow.
B-mode and elastography of a lymph node.
M-mode tracing of the mitral valve.
EUS-guided fine needle aspiration of the pancreatic mass.
IVUS of the left anterior descending artery.
TEE showing a thrombus in the left atrial appendage.
Transverse US image of the gallbladder.
US-guided images were taken: (a) US scan, (b) needle.
An anechoic lesion with posterior enhancement.
A hyper-echoic focus with shadowing.
Ultrasonic imaging of the spleen.
Ultrasonic transverse view of the kidney.
ULTRASOUND OF THE BREAST
Lung\nultrasound with B-lines.
Ultrasound-guided biopsy of the axillary node.
Samples were cleaned in an ultrasonic bath; (b) ultrasound of the graft.
""".strip().split("\n")
REFUSED = """
CT scan of the abdomen with contrast.
Particles were dispersed in an ultrasonic bath for 10 min.
The powder after ultrasonic cleaning.
TEM image after ultrasound-assisted extraction.
Nanosheets obtained by ultrasonic exfoliation.
Ultrasonic vocalizations of mouse pups.
Ultrasound vocalisation spectrograms.
Laser Doppler flowmetry of the skin.
Laser-Doppler perfusion map.
Doppler shift of the emission line.
Doppler optical coherence tomography of the retina.
High-intensity focused ultrasound transducer and target.
Low-intensity pulsed ultrasound promotes healing.
Focused ultrasound neuromodulation set-up.
Cells after ultrasound irradiation.
Gradient-echo MR image, echo time 5 ms.
Population of the US by state.
Dark-mode and multi-mode views.
Histology of the node, H&E.
It shows us images of cells.
PLUS image of cells.
""".strip().split("\n")


@pytest.mark.parametrize("caption", [text.replace("\\n", "\n") for text in CHOSEN])
def test_a_caption_that_names_ultrasound_is_chosen(caption: str) -> None:
    assert speaks_of_ultrasound(caption)


@pytest.mark.parametrize("caption", REFUSED)
def test_other_images_and_other_uses_of_the_words_are_not(caption: str) -> None:
    assert not speaks_of_ultrasound(caption)


def test_another_modality_in_the_caption_is_noticed() -> None:
    assert names_another_modality("Ultrasound (a) and CT (b) of the liver.")
    assert names_another_modality("Sonography and histology, H&E stain")
    assert not names_another_modality("Doppler ultrasound of the direct branch")
