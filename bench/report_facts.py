"""The made-up facts that both sides print in their report; standard library only."""

HOSPITAL = "Lindenhof Hospital"
REPORT_ID = "R-2026-000123"
NAME = "Erika Musterfrau"
RECORD = "P-004711"
SCAN = "Chest radiograph, PA"
CONCLUSION = "Opacity in the right lower lobe, in keeping with pneumonia"
NOTES = "Heart size normal. Patchy opacity in the right lower zone, no effusion. " * 6
PROBABILITIES = (
    ("Lung_Opacity", 0.8123),
    ("NIH_MERGED", 0.0702),
    ("Normal", 0.0564),
    ("COVID", 0.0311),
    ("Viral_Pneumonia", 0.03),
)
ITEMS = (
    ("Doxycycline", "100 mg", "by mouth", "twice a day", "7 days", "with food"),
    ("Paracetamol", "500 mg", "by mouth", "as needed", "5 days", ""),
)
PEOPLE = (
    ("verified", "Dr. Ada Brandt", "Doctor"),
    ("completed", "Jonas Weiss", "Pharmacist"),
    ("approved", "Mirela Popovic", "Administrator"),
)
