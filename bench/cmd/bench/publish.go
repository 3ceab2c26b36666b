package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/bench/publish"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// publishReport writes the figures of a report into the documents. A report that documents should not show leaves them
// as they are, which is said and is no error.
func publishReport(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("publish", flag.ContinueOnError)
	root := flags.String("root", ".", "folder of the repository")
	file := flags.String("report", "bench/out/S/report.json", "report of bench run")
	fleet := flags.String("fleet", "S", "name of the report's fleet: S, L, M, XL or N")
	commit := flags.String("commit", "", "commit of the program that was measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	report, err := readReport[runner.Report](*file)
	if err != nil {
		return err
	}
	figures, err := publish.FromReport(report, *fleet, *commit)
	if err != nil {
		sayKept(err)
		return nil
	}
	return sayWritten(publish.Write(*root, *fleet, figures))
}

// publishWhole writes the figures of a report of the whole way into docs/performance.md, as publishReport does.
func publishWhole(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("publish-whole", flag.ContinueOnError)
	root := flags.String("root", ".", "folder of the repository")
	file := flags.String("report", "bench/out/whole/report.json", "report of bench whole")
	commit := flags.String("commit", "", "commit of the program that was measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	report, err := readReport[runner.WholeReport](*file)
	if err != nil {
		return err
	}
	figures, err := publish.FromWholeReport(report, *commit)
	if err != nil {
		sayKept(err)
		return nil
	}
	return sayWritten(publish.WriteWhole(*root, figures))
}

// readReport reads a report of bench run or bench whole.
func readReport[R any](file string) (report R, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return report, fmt.Errorf("%s: %w", file, err)
	}
	return report, nil
}

func sayKept(why error) {
	fmt.Printf("The documents keep their figures: %s\n", strings.ReplaceAll(why.Error(), "\n", "; "))
}

func sayWritten(names []string, err error) error {
	if err != nil {
		return err
	}
	slices.Sort(names)
	_, err = fmt.Printf("Wrote %s\n", strings.Join(names, ", "))
	return err
}
