"""Data sets of images with texts: ``common`` converts them; one module each for CURD, MedPix, PMC-OA, the phantom."""
