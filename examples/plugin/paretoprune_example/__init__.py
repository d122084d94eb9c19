"""Example of a plug-in package for Paretoprune."""
