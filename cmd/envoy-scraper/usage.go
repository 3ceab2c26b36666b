package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// usageError returns the message for a wrong command line: the flag, its value, a fix, and the command whose help to
// read.
func usageError(app *kingpin.Application, args []string, err error) string {
	cmd := ""
	parsed, _ := app.ParseContext(args)
	if parsed != nil && parsed.SelectedCommand != nil &&
		slices.Contains(args, firstWord(parsed.SelectedCommand.FullCommand())) {
		cmd = parsed.SelectedCommand.FullCommand()
	}
	said := err.Error()
	if long, ok := strings.CutPrefix(said, "unknown long flag "); ok {
		said = unknownFlag(app, cmd, strings.Trim(long, "'"))
	} else if short, ok := strings.CutPrefix(said, "unknown short flag "); ok {
		said = "unknown flag " + strings.Trim(short, "'") + " (flags begin with two dashes, such as --config.file)"
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

// commandOf returns a command by its full name, such as run or queue list.
func commandOf(app *kingpin.Application, name string) *kingpin.CmdClause {
	word, sub, nested := strings.Cut(name, " ")
	cmd := app.GetCommand(word)
	if nested {
		return cmd.GetCommand(sub)
	}
	return cmd
}

// unknownFlag returns the message for an unknown flag. It suggests a flag whose name resembles it.
func unknownFlag(app *kingpin.Application, cmd, flag string) string {
	said := "unknown flag " + flag
	if cmd == "check" && flag == "--config.file" {
		return said + " (give the file without a flag: envoy-scraper check FILE)"
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

// resembles reports whether two names of flags differ in at most one letter, which is missing, added or replaced. Dots
// and dashes do not count.
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

// unexpectedArgument returns the message for an argument that is not expected: a file without --config.file, or an
// unknown command.
func unexpectedArgument(app *kingpin.Application, cmd, arg string) string {
	_, err := os.Stat(arg)
	switch file := err == nil || strings.ContainsAny(arg, "./"); {
	case cmd == "check" || cmd == "scrape":
		return "unexpected " + arg
	case file:
		return fmt.Sprintf("unexpected %s (use --config.file=%s for a file)", arg, arg)
	case cmd != "":
		return "unexpected " + arg
	}
	var names []string
	for _, c := range app.Model().Commands {
		if c.Name != "help" {
			names = append(names, c.Name)
		}
	}
	return fmt.Sprintf("unknown command %s (the commands are %s)", arg, strings.Join(names, ", "))
}

// badValue returns the message for the flag whose value was refused, because kingpin's error does not name it. It is
// empty if no value was refused.
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
			said += " (write a number and a unit, such as 15s)"
		}
		return said
	}
	return ""
}
