package scrape

import (
	"strings"
	"testing"
)

// TestPageTurns lists what happens to a target, one letter for each scrape, and what is asked for before each: w is the
// whole page, f the filtered one. Events: g good page, t timeout, c connection refused, b another failure, r good page
// of another process.
func TestPageTurns(t *testing.T) {
	const hash = 2 // the first whole page is followed by 3 filtered ones
	for name, c := range map[string]struct{ events, asked string }{
		"all good":                      {strings.Repeat("g", 47), "wfff" + "w" + strings.Repeat("f", 39) + "wff"},
		"no good whole page, no filter": {"btcbgg", "wwwwwf"},
		"a failed filtered page is followed by a whole one": {"gbgg", "wfwf"},
		"four such failures in a row end it":                {"gbgbgbgbggg", "wfwfwfwfwww"},
		"a good filtered page between":                      {"gbggbgg", "wfwffwf"},
		"too busy for any page":                             {"gttttgg", "wfwfwff"},
		"too busy for whole pages": {"ggggt" + strings.Repeat("g", 39) + "t",
			"wfffw" + strings.Repeat("f", 39) + "w"},
		"away, then another process":  {"gcccgg", "wfwwwf"},
		"restarted without a failure": {"grggg", "wfwff"},
	} {
		t.Run(name, func(t *testing.T) {
			var turns pageTurns
			asked := ""
			for _, event := range c.events {
				filtered := turns.isFiltered()
				if asked += "w"; filtered {
					asked = asked[:len(asked)-1] + "f"
				}
				if event == 'r' {
					turns.otherProcess()
				}
				if event == 'g' || event == 'r' {
					turns.good(filtered, hash)
				} else {
					turns.bad(filtered, event == 't', event == 'c')
				}
			}
			if asked != c.asked {
				t.Errorf("asked for %s, want %s", asked, c.asked)
			}
		})
	}
}

func TestAFilterThatSavesLittleIsTriedAgain(t *testing.T) {
	var turns pageTurns
	turns.good(false, 0)
	turns.good(true, 0)
	turns.little()
	for n := range wholeEvery - 1 {
		if turns.isFiltered() {
			t.Fatalf("it is tried again after %d pages", n)
		}
		turns.good(false, 0)
	}
	if !turns.isFiltered() {
		t.Error("it is not tried again")
	}
	for _, c := range []struct {
		filtered, whole int
		little          bool
	}{{74, 100, false}, {75, 100, false}, {76, 100, true}, {0, 0, false}, {0, 1, false}, {110, 100, false}} {
		if SavesLittle(c.filtered, c.whole) != c.little {
			t.Errorf("%d of %d lines: too little %v", c.filtered, c.whole, !c.little)
		}
	}
}

func TestTwoLossesInARowMakeAFilterWrong(t *testing.T) {
	var turns pageTurns
	for i, lost := range []bool{true, false, true, true} {
		if wrong := turns.compared(lost); wrong != (i == 3) {
			t.Errorf("comparison %d: wrong %v", i, wrong)
		}
	}
}

func TestARefusalEndsWithItsProcess(t *testing.T) {
	turns := pageTurns{refusal: refusedAnswer}
	if turns.otherProcess(); turns.refusal != refusedNot {
		t.Error("another process is not asked with a filter")
	}
	turns.little()
	if turns.otherProcess(); turns.refusal != refusedNot {
		t.Error("a filter that saved little is not tried with another process")
	}
	turns.refusal = refusedFailed
	if turns.otherProcess(); turns.refusal != refusedFailed {
		t.Error("a filter that breaks scrapes is tried with each process")
	}
}
