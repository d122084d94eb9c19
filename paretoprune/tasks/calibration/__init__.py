"""Calibration data: pictures with questions, and answers where there are any."""
