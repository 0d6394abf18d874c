from mixwright.report.card.text import model_card as model_card
from mixwright.report.card.write import write_card as write_card
from mixwright.report.page import read_beside as read_beside
from mixwright.report.page import render as render
from mixwright.report.page import write as write
from mixwright.report.what_if.results import write_what_if as write_what_if
