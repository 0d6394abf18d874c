"""Strategies of other papers that follow what a training reports, one file each."""
