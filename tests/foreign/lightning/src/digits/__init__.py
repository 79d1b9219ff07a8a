from digits.data import DigitsDataModule
from digits.model import DigitsClassifier

__all__ = ["DigitsClassifier", "DigitsDataModule"]
