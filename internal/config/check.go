package config

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
	"github.com/envoy-scraper/envoy-scraper/internal/config/locate"
)

// maxShownValue is how many characters of a value a message repeats.
const maxShownValue = 120

// check reports every value of a part that the decoder refuses, and returns the part without them. The result is nil if
// nothing is left.
func (l *loader) check(src *source, job string, p *locate.Part) *yaml.Node {
	accepted, refused := p.Refusals()
	for _, r := range refused {
		if l.env.broken[r.Node] {
			continue
		}
		at := p.Position(r.Node)
		pr := Problem{File: src.name, Line: at.Line, Job: job, Key: at.Path, Value: l.show(r.Node, at.Path)}
		if pr.Why, pr.Fix = hint.For(r.Message, Extension{}); pr.Why == r.Message {
			pr.Why = l.conceal(r.Message, r.Node, p)
		}
		l.add(pr)
	}
	return accepted
}

// show is a value as a message may repeat it: as written, without secrets, shortened.
func (l *loader) show(n *yaml.Node, path string) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	if written, ok := l.env.written[n]; ok {
		return written
	}
	if mayBeSecret(path) {
		return redacted
	}
	value := redactURL(n.Value)
	if r := []rune(value); len(r) > maxShownValue {
		value = string(r[:maxShownValue]) + "…"
	}
	return value
}

// conceal takes out of a message what must not be shown: the value of a secret, of a variable, of a URL.
func (l *loader) conceal(msg string, n *yaml.Node, p *locate.Part) string {
	for _, m := range scalars(n) {
		shown := m.Value
		if written, ok := l.env.written[m]; ok {
			shown = written
		} else if mayBeSecret(p.Position(m).Path) {
			shown = redacted
		}
		if m.Value == "" || shown == m.Value {
			continue
		}
		msg = replaceValue(msg, m.Value, shown)
		if len(m.Value) > 10 { // yaml cuts the value that it repeats
			msg = strings.ReplaceAll(msg, m.Value[:7]+"...", shown)
		}
	}
	return redactURL(strings.ReplaceAll(msg, "\n", " "))
}

// replaceValue puts shown where value stands in msg. A value of a few letters is only taken for itself where it is a
// word: that it is part of others says nothing of it, and without them nobody could read the message.
func replaceValue(msg, value, shown string) string {
	if len(value) > 3 || !isWord(value) {
		return strings.ReplaceAll(msg, value, shown)
	}
	return regexp.MustCompile(`\b`+value+`\b`).ReplaceAllLiteralString(msg, shown)
}

// isWord: letters, digits and underscores of ASCII.
func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// scalars are all values at and below n.
func scalars(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.ScalarNode {
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, c := range n.Content {
		out = append(out, scalars(c)...)
	}
	return out
}
