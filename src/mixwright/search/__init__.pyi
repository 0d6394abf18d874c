from mixwright.search.mixmin import MixMin as MixMin
from mixwright.search.pareto import pareto as pareto
from mixwright.search.result import Search as Search
from mixwright.search.result import SearchResult as SearchResult
from mixwright.search.squared_error import SquaredError as SquaredError
from mixwright.search.table.table import LikelihoodTable as LikelihoodTable
from mixwright.search.worst_regret import WorstRegret as WorstRegret

SEARCHES: dict[str, str]
