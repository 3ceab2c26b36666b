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

// check reports every value of a part that the decoder refuses, and returns the part without them, or nil.
func (l *loader) check(src *source, job string, p *locate.Part) *yaml.Node {
	accepted, refused := p.Refusals()
	for _, r := range refused {
		if l.refused == nil {
			l.refused = map[*yaml.Node]bool{}
		}
		l.refused[r.Node] = true
		if l.env.broken[r.Node] {
			continue
		}
		at := p.Position(r.Node)
		pr := Problem{File: src.name, Line: at.Line, Job: job, Key: at.Path, Value: l.show(r.Node, at.Path)}
		if pr.Why, pr.Fix = hint.For(r.Message, Extension{}); pr.Why == r.Message {
			pr.Why = l.hideSecrets(r.Message, r.Node, p)
		}
		l.add(pr)
	}
	return accepted
}

// show returns a value for a message: as written, without secrets, shortened.
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

// hideSecrets replaces values of secrets, of variables and of URLs in a message.
func (l *loader) hideSecrets(msg string, n *yaml.Node, p *locate.Part) string {
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
		if len(m.Value) > 10 { // yaml shortens values in its messages
			msg = strings.ReplaceAll(msg, m.Value[:7]+"...", shown)
		}
	}
	return redactURL(strings.ReplaceAll(msg, "\n", " "))
}

// replaceValue replaces value by shown in msg. A value of up to three letters is replaced only as a complete word: as
// part of another word it reveals nothing, and without those words the message would be unreadable.
func replaceValue(msg, value, shown string) string {
	if len(value) > 3 || !isWord(value) {
		return strings.ReplaceAll(msg, value, shown)
	}
	return regexp.MustCompile(`\b`+value+`\b`).ReplaceAllLiteralString(msg, shown)
}

// isWord reports whether s has only ASCII letters, digits and underscores.
func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// scalars returns all scalar values at and below n.
func scalars(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, c := range n.Content {
		out = append(out, scalars(c)...)
	}
	return out
}
