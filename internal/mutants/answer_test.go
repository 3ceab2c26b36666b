package mutants

// answer is what TestMistakeIsFound makes mistakes in.
func answer() int { return 6 * 7 }
