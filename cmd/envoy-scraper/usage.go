package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// wrongUsage is what to say of a command line that was not understood: the flag, its value and the way out, and whose
// help to read.
func wrongUsage(app *kingpin.Application, args []string, err error) string {
	cmd := ""
	parsed, _ := app.ParseContext(args)
	if parsed != nil && parsed.SelectedCommand != nil && slices.Contains(args, firstWord(parsed.SelectedCommand.FullCommand())) {
		cmd = parsed.SelectedCommand.FullCommand()
	}
	said := err.Error()
	if long, ok := strings.CutPrefix(said, "unknown long flag "); ok {
		said = unknownFlag(app, cmd, strings.Trim(long, "'"))
	} else if short, ok := strings.CutPrefix(said, "unknown short flag "); ok {
		said = "unknown flag " + strings.Trim(short, "'") + " (flags begin with two dashes, as --config.file)"
	} else if arg, ok := strings.CutPrefix(said, "unexpected "); ok {
		said = unexpectedArgument(app, cmd, arg)
	} else if bad := badValue(parsed, err); bad != "" {
		said = bad
	}
	help := app.Name
	if cmd != "" {
		help += " " + cmd
	}
	return fmt.Sprintf("%s: %s\nSee %s --help.", app.Name, said, help)
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// commandOf finds a command by its full name, as run or queue list.
func commandOf(app *kingpin.Application, name string) *kingpin.CmdClause {
	word, sub, nested := strings.Cut(name, " ")
	cmd := app.GetCommand(word)
	if nested {
		return cmd.GetCommand(sub)
	}
	return cmd
}

// unknownFlag names the flag that was meant, if one is written nearly so.
func unknownFlag(app *kingpin.Application, cmd, flag string) string {
	said := "unknown flag " + flag
	if cmd == "check" && flag == "--config.file" {
		return said + " (name the file without it: envoy-scraper check FILE)"
	}
	of := app.GetCommand("run")
	if cmd != "" {
		of = commandOf(app, cmd)
	}
	for _, f := range of.Model().Flags {
		if !f.Hidden && resembles(strings.TrimPrefix(flag, "--"), f.Name) {
			return fmt.Sprintf("%s (did you mean --%s?)", said, f.Name)
		}
	}
	return said
}

// resembles: but for what stands between the words, two names differ in one letter that is missing, too many or
// another, at most.
func resembles(a, b string) bool {
	plain := strings.NewReplacer(".", "", "-", "", "_", "")
	a, b = strings.ToLower(plain.Replace(a)), plain.Replace(b)
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1
}

// unexpectedArgument tells a file that needs a flag from a command that there is not.
func unexpectedArgument(app *kingpin.Application, cmd, arg string) string {
	_, err := os.Stat(arg)
	switch file := err == nil || strings.ContainsAny(arg, "./"); {
	case cmd == "check" || cmd == "scrape":
		return "unexpected " + arg
	case file:
		return fmt.Sprintf("unexpected %s (a file is named by --config.file=%s)", arg, arg)
	case cmd != "":
		return "unexpected " + arg
	}
	var names []string
	for _, c := range app.Model().Commands {
		if c.Name != "help" {
			names = append(names, c.Name)
		}
	}
	return fmt.Sprintf("unknown command %s (there are %s)", arg, strings.Join(names, ", "))
}

// badValue finds the flag whose value was refused, which kingpin does not tell; empty: none was.
func badValue(parsed *kingpin.ParseContext, err error) string {
	if parsed == nil || errors.Is(err, kingpin.ErrCommandNotSpecified) {
		return ""
	}
	for _, e := range parsed.Elements {
		flag, ok := e.Clause.(*kingpin.FlagClause)
		if !ok || e.Value == nil {
			continue
		}
		model := flag.Model()
		if again := model.Value.Set(*e.Value); again == nil || again.Error() != err.Error() {
			continue
		}
		said := fmt.Sprintf("--%s: %s: %v", model.Name, *e.Value, err)
		if strings.Contains(err.Error(), "duration") {
			said += " (write a number and a unit, as 15s)"
		}
		return said
	}
	return ""
}
