package web

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

const maxSearch = 256 // bytes of a search text; the rest is ignored

// search is the content of the search field: words, all of which must be found.
type search []word

// word asks for a label if it has the form name=value, name!=value, name=~expression or name!~expression. Any other
// word asks for a text that contains it, whatever the case.
type word struct {
	text string // in lower case; if it is set, the other fields are not

	name  string
	not   bool
	value string
	regex *regexp.Regexp // instead of value
}

// searchable is what a row offers to a search. It must not contain what the page hides: an expression that is tried
// again and again would find a hidden value letter by letter.
type searchable struct {
	Texts  []string // pod, address, error
	Labels []labels.Labels
}

var labelWord = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)(=~|!~|!=|=)(.*)$`)

// parseSearch returns the words of a text. The error is one sentence for the person who typed it.
func parseSearch(text string) (search, error) {
	var s search
	for _, field := range strings.Fields(text) {
		m := labelWord.FindStringSubmatch(field)
		if m == nil {
			s = append(s, word{text: strings.ToLower(field)})
			continue
		}
		w := word{name: m[1], not: m[2][0] == '!', value: strings.Trim(m[3], `"`)}
		if strings.HasSuffix(m[2], "~") {
			var err error
			if w.regex, err = regexp.Compile("^(?s:" + w.value + ")$"); err != nil {
				plain := strings.NewReplacer("=~", "=", "!~", "!=").Replace(m[2])
				return nil, fmt.Errorf("%s: %q is no regular expression; for a plain value write %s%s%s", field,
					w.value, w.name, plain, w.value)
			}
		}
		s = append(s, w)
	}
	return s, nil
}

// matches reports whether a row has all words.
func (s search) matches(row searchable) bool {
	for _, w := range s {
		if !w.matches(row) {
			return false
		}
	}
	return true
}

func (w word) matches(row searchable) bool {
	if w.text != "" {
		return w.inTexts(row)
	}
	for _, set := range row.Labels {
		value := set.Get(w.name)
		if found := w.regex != nil && w.regex.MatchString(value) || w.regex == nil && value == w.value; found {
			return !w.not
		}
	}
	return w.not
}

func (w word) inTexts(row searchable) (found bool) {
	contains := func(text string) bool { return strings.Contains(strings.ToLower(text), w.text) }
	for _, text := range row.Texts {
		if contains(text) {
			return true
		}
	}
	for _, set := range row.Labels {
		set.Range(func(l labels.Label) { found = found || contains(l.Value) })
	}
	return found
}
