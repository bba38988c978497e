"""Studies: many searches, scorings and trainings that answer one question, planned, kept and gone on with."""
