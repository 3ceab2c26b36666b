package simulate

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/mutants"
)

// mistakes are mistakes in the product that the simulation must find.
func mistakes() []mutants.Mutant {
	return slices.Concat(scrapeMistakes(), targetMistakes(), deliveryMistakes(), queueMistakes())
}

// TestMutantsFit: the texts that mutants change are there, each once, and no two mutants have one name.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mistakes() {
		t.Run(m.Name, func(t *testing.T) { m.Texts(t) })
		if names[m.Name] {
			t.Errorf("two mutants are called %q", m.Name)
		}
		names[m.Name] = true
	}
}

// seedsOfCI is how many seeds CI runs at least: each takes 2 to 5 s of its five minutes.
const seedsOfCI = "60"

// TestSimulationFindsMutants: with each mistake the simulation fails within the seeds of CI, or SIMULATE_SEEDS. It
// compiles the product for each, so it runs only with SIMULATE_MUTANTS=1: `make simulate-mutants`.
func TestSimulationFindsMutants(t *testing.T) {
	if os.Getenv("SIMULATE_MUTANTS") != "1" {
		t.Skip("SIMULATE_MUTANTS=1 runs it; it takes an hour")
	}
	seeds := cmp.Or(os.Getenv("SIMULATE_SEEDS"), seedsOfCI)
	for _, m := range mistakes() {
		t.Run(m.Name, func(t *testing.T) {
			output, passed := mutants.Run(t, m.Build(t), "TestSeeds", "SIMULATE_MUTANTS=", "SIMULATE_SEED=1",
				"SIMULATE_SEEDS="+seeds, "SIMULATE_SHORTEST=0")
			if passed {
				t.Fatalf("the simulation passes with seeds 1 to %s", seeds)
			}
			found := strings.Count(output, afterSeed)
			if mutants.Panics(output) {
				found++
			}
			t.Logf("seed %d finds it: %s", found, mutants.FirstProblem(output, afterSeed))
		})
	}
}

// afterSeed is in the line that logResult prints after each seed.
const afterSeed = "simulated seconds per second"
