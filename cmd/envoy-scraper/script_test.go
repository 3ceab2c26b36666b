package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"envoy-scraper": main})
}

// TestScripts runs the stories of the command line: what a user types, and what it answers.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NODE_NAME", "") // of the machine that runs the test
			return nil
		},
	})
}
