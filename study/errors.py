"""What can go wrong, in two kinds."""


class StudyError(Exception):
    """One line: WHERE: what is wrong; what would be right."""


class Stopped(Exception):
    """The work was interrupted; the same command goes on with it."""
