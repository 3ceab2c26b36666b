package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// demoCommand begins the console block of README that shows what the demo prints.
const demoCommand = "```console\n$ make demo ONCE=1\n"

// compareWithReadme says which lines of README's output of the demo were not printed. Numbers that differ from run to
// run (counts, ports) and the width of columns do not count; a line of three dots stands for any number of lines.
func compareWithReadme(file, printed string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, shown, found := strings.Cut(string(text), demoCommand)
	shown, _, ended := strings.Cut(shown, "\n```")
	if !found || !ended {
		return fmt.Errorf("%s: there is no block that begins with %q", file, demoCommand)
	}
	lines := strings.Split(withoutNumbers(printed), "\n")
	var errs []error
	for line := range strings.SplitSeq(withoutNumbers(shown), "\n") {
		if line == "" || line == "..." {
			continue
		}
		at := indexOf(lines, line)
		if at < 0 {
			errs = append(errs, fmt.Errorf("%s shows a line that the demo does not print (here): %s", file, line))
			continue
		}
		lines = lines[at+1:]
	}
	return errors.Join(errs...)
}

func indexOf(lines []string, line string) int {
	for i, l := range lines {
		if l == line {
			return i
		}
	}
	return -1
}

var (
	lastNumber = regexp.MustCompile(`(?m) \d+$`)
	port       = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	spaces     = regexp.MustCompile(` +`)
)

// withoutNumbers makes `  a  200    12` and `  a  200    3400` the same line, ` a 200 N`.
func withoutNumbers(text string) string {
	text = port.ReplaceAllString(text, "127.0.0.1:PORT")
	text = lastNumber.ReplaceAllString(text, " N")
	return spaces.ReplaceAllString(text, " ")
}
