package cost

import (
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// variableMark stands for a variable of Grafana in names and texts. No metric is called so.
const variableMark = "GRAFANA_VARIABLE"

const (
	filledDuration = "5m"
	filledNumber   = "1"
	// maxTries is how many ways of filling in the variables of an expression are tried.
	maxTries = 243
)

// filled is an expression cut into text and variables.
type filled struct {
	parts []part
	names []string // of variables outside of quotes and brackets, each once
}

type part struct {
	text     string // as it is, or what is filled in
	variable int    // index in filled.names plus one; 0: text is final
}

// variablePattern finds $name, ${name}, ${name:format}, [[name]] and [[name:format]].
func variablePattern() *regexp.Regexp {
	return regexp.MustCompile(`\$\{([\w.]+)(?::[^}]*)?\}|\[\[([\w.]+)(?::[^\]]*)?\]\]|\$([A-Za-z_]\w*)`)
}

// parseFilled parses an expression of a dashboard. What a variable stands for is not known: a duration, a number, a
// name or a part of one. Within brackets it is a duration and within quotes a text; elsewhere the first of the three
// that gives a valid expression is taken. Names with a variable hold variableMark.
func parseFilled(text string) (parser.Expr, error) {
	f := cutVariables(text)
	p := parser.NewParser(parser.Options{EnableExperimentalFunctions: true})
	choices := make([]int, len(f.names))
	var first error
	for range maxTries {
		e, err := p.ParseExpr(f.fill(choices))
		if err == nil {
			return e, nil
		}
		if first == nil {
			first = err
		}
		if !next(choices) {
			break
		}
	}
	return nil, first
}

// next counts up: each choice is 0, 1 or 2.
func next(choices []int) bool {
	for i := range choices {
		if choices[i]++; choices[i] < 3 {
			return true
		}
		choices[i] = 0
	}
	return false
}

// cutVariables finds the variables of an expression.
func cutVariables(text string) (f filled) {
	var quote byte
	depth, from := 0, 0
	for _, at := range variablePattern().FindAllStringSubmatchIndex(text, -1) {
		quote, depth = scan(text[from:at[0]], quote, depth)
		f.parts = append(f.parts, part{text: text[from:at[0]]})
		name := ""
		for i := 2; i < len(at); i += 2 {
			if at[i] >= 0 {
				name = text[at[i]:at[i+1]]
			}
		}
		from = at[1]
		known, isKnown := builtIn(name)
		switch {
		case quote != 0:
			f.parts = append(f.parts, part{text: variableMark})
		case isKnown:
			f.parts = append(f.parts, part{text: known})
		case depth > 0:
			f.parts = append(f.parts, part{text: filledDuration})
		default:
			// A variable beside other letters, or before { or [, is a name or a part of one.
			if isName(text, at[0], at[1]) {
				f.parts = append(f.parts, part{text: variableMark})
				continue
			}
			i := slices.Index(f.names, name)
			if i < 0 {
				i = len(f.names)
				f.names = append(f.names, name)
			}
			f.parts = append(f.parts, part{variable: i + 1})
		}
	}
	f.parts = append(f.parts, part{text: text[from:]})
	return f
}

// isName reports whether the variable at text[from:to] is a metric name or a part of one.
func isName(text string, from, to int) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:"
	after := strings.TrimLeft(text[to:], " \t\n")
	return from > 0 && strings.IndexByte(letters, text[from-1]) >= 0 ||
		to < len(text) && strings.IndexByte(letters, text[to]) >= 0 ||
		after != "" && (after[0] == '{' || after[0] == '[' && !strings.HasPrefix(after, "[["))
}

// scan follows quotes and brackets through a piece of an expression.
func scan(text string, quote byte, depth int) (byte, int) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			depth = max(depth-1, 0)
		}
	}
	return quote, depth
}

// builtIn returns the value of a variable that Grafana itself sets.
func builtIn(name string) (value string, ok bool) {
	switch name {
	case "__rate_interval", "__interval", "__range", "__auto":
		return filledDuration, true
	case "__interval_ms", "__range_ms", "__rate_interval_ms":
		return "300000", true
	case "__range_s", "__interval_s":
		return "300", true
	case "__from", "__to":
		return "1700000000000", true
	}
	return "", false
}

// fill returns the expression with a choice for each variable: 0 a number, 1 a name, 2 a duration.
func (f *filled) fill(choices []int) string {
	var b strings.Builder
	for _, p := range f.parts {
		if p.variable == 0 {
			b.WriteString(p.text)
			continue
		}
		b.WriteString([]string{filledNumber, variableMark, filledDuration}[choices[p.variable-1]])
	}
	return b.String()
}
