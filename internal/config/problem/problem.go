// Package problem has the messages about a configuration: each has the place, the key, its value, the reason and a fix.
package problem

import (
	"fmt"
	"strings"
)

// Severity says whether a configuration with this problem can run.
type Severity string

// The severities. A configuration with an Error does not run. A Note says what a setting does, and needs no change.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Problem is one thing that the user should change or, as a Note, know. No field holds a secret.
type Problem struct {
	Severity Severity
	File     string // as the user named it, or the name of the flag that is the cause
	Line     int    // 0: unknown, or the whole file
	Job      string
	Key      string // path of the key, as scrape_configs[0].relabel_configs[2].regex
	Value    string // as written, shortened
	Why      string
	Fix      string // what to change
}

// String formats the problem on one line: file:line: severity: key: value: why (fix).
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Severity == Warning || p.Severity == Note {
		b.WriteString(": " + string(p.Severity))
	}
	if p.Job != "" {
		fmt.Fprintf(&b, ": job %q", p.Job)
	}
	for _, part := range []string{p.Key, p.Value, p.Why} {
		if part != "" {
			b.WriteString(": ")
			b.WriteString(part)
		}
	}
	if p.Fix != "" {
		fmt.Fprintf(&b, " (%s)", p.Fix)
	}
	return b.String()
}

// Problems is an error that holds every problem of a configuration, warnings too, in the order of the file.
type Problems []Problem

// Error returns the problems of severity Error, one per line.
func (ps Problems) Error() string {
	var lines []string
	for _, p := range ps {
		if p.Severity == Error {
			lines = append(lines, p.String())
		}
	}
	return strings.Join(lines, "\n")
}

// Errors counts the problems of severity Error.
func (ps Problems) Errors() int {
	n := 0
	for _, p := range ps {
		if p.Severity == Error {
			n++
		}
	}
	return n
}
