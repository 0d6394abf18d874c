"""Strategies, one file each, and the wrappers that hold one."""

from mixwright.strategies.amar import AMAR
from mixwright.strategies.amas import AMAS
from mixwright.strategies.balanced_pike import BalancedPiKE
from mixwright.strategies.group_dro import GroupDRO
from mixwright.strategies.online.ado import ADO
from mixwright.strategies.online.aioli import Aioli
from mixwright.strategies.online.doge import DoGE
from mixwright.strategies.online.doremi import DoReMi
from mixwright.strategies.online.grape import GRAPE
from mixwright.strategies.online.loss_ratio import LossRatio
from mixwright.strategies.online.odm import ODM
from mixwright.strategies.online.skillit import SkillIt
from mixwright.strategies.pike import PiKE
from mixwright.strategies.registry import by_name, from_config
from mixwright.strategies.schedule import Schedule
from mixwright.strategies.static import Static
from mixwright.strategies.temperature import Temperature
from mixwright.strategies.unimax import UniMax
from mixwright.strategies.wrappers.every import Every
from mixwright.strategies.wrappers.floor import Floor
from mixwright.strategies.wrappers.guard import Guard
from mixwright.strategies.wrappers.smooth import Smooth
from mixwright.strategies.wrappers.warmup import Warmup

__all__ = [
    "ADO",
    "AMAR",
    "AMAS",
    "GRAPE",
    "ODM",
    "Aioli",
    "BalancedPiKE",
    "DoGE",
    "DoReMi",
    "Every",
    "Floor",
    "GroupDRO",
    "Guard",
    "LossRatio",
    "PiKE",
    "Schedule",
    "SkillIt",
    "Smooth",
    "Static",
    "Temperature",
    "UniMax",
    "Warmup",
    "by_name",
    "from_config",
]
