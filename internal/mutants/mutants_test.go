package mutants

import (
	"os"
	"strings"
	"testing"
)

// TestAnswer is what the other test breaks.
func TestAnswer(t *testing.T) {
	if n := answer(); n != 42 {
		t.Errorf("the answer is %d", n)
	}
	t.Log(os.Getenv("MUTANTS_WORD"))
}

// TestMistakeIsFound: the product passes its test, and with a mistake it fails.
func TestMistakeIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		mutant Mutant
		passes bool
		want   string // in the first problem
	}{
		"as it is":  {Mutant{}, true, "word"},
		"a mistake": {One("", "answer_test.go", "return 6 * 7", "return 6 * 9"), false, "the answer is 54"},
		"two edits": {Of("", Change("answer_test.go", "return 6", "return 5"),
			Change("answer_test.go", "5 * 7", "5 * 8")), false, "the answer is 40"},
		"a panic": {One("", "answer_test.go", "return 6 * 7", "panic(\"no answer\")"), false, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			output, passed := Run(t, c.mutant.Build(t), "TestAnswer", "MUTANTS_WORD=word")
			if got := FirstProblem(output); passed != c.passes || !strings.Contains(got, c.want) {
				t.Errorf("passed: %v, problem %q; want %v, %q", passed, got, c.passes, c.want)
			}
		})
	}
}

// TestFirstProblem: lines that are no problem are passed over.
func TestFirstProblem(t *testing.T) {
	const output = "=== RUN   TestX\n    x_test.go:1: seed 1\n    x_test.go:2: lost\n    x_test.go:3: more\n"
	for want, except := range map[string][]string{
		"1: seed 1": nil, "2: lost": {"seed"}, "3: more": {"seed", "lost"}, output: {"seed", "lost", "more"},
	} {
		if got := FirstProblem(output, except...); got != want {
			t.Errorf("without %q: %q, want %q", except, got, want)
		}
	}
}
