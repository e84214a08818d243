package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/replay"
)

func replayCommand() *cobra.Command {
	var root, grafana string
	var to replay.Config
	cmd := &cobra.Command{
		Use: "replay RUN...", Short: "Send recorded runs to Grafana's programs, to be explored there", GroupID: "run", Args: between(1, -1),
		Long: `Send recorded runs to the programs behind a Grafana, as if they had just been
measured there: spans and log records, metrics with their exemplars, profiles, and
the verdict, all with their own times. So a run made in CI is explored in Grafana.
RUN is a directory, or its name below runs/; runs/latest is the newest.

  --otlp        takes spans and log records: a collector, or Tempo for spans alone.
                OTLP over HTTP, usually port 4318.
  --prometheus  takes metrics over remote write. It needs the flag
                --web.enable-remote-write-receiver and, for runs of the past,
                storage.tsdb.out_of_order_time_window in its file.
  --loki        takes log records in place of --otlp (Loki 3 or newer).
  --pyroscope   takes profiles.

What has no address is not sent. 'make up RUN=...' starts the full stack and does all
of it. The record notes the Grafana, so that a report made from then on ('faultline
report RUN') leads from each trace and phase to it. Sending a run twice does no harm, but that profiles are added up.

Exit codes: 0 when everything was taken, 64 usage, 70 when something could not be
sent or was refused, 3 after Ctrl-C.`,
		Example: `  faultline replay runs/latest --otlp http://127.0.0.1:4318 --prometheus http://127.0.0.1:9090
  faultline replay runs/20260301-115958-cascade-failure-* --prometheus http://127.0.0.1:9090`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var dirs []string
			var errs []error
			for _, name := range args {
				dir, err := record.Find(root, name)
				errs = append(errs, err)
				dirs = append(dirs, dir)
			}
			if err := errors.Join(errs...); err != nil {
				return usage(err)
			}
			return replayAll(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), dirs, to, grafana)
		},
	}
	rootFlag(cmd, &root)
	cmd.Flags().StringVar(&to.OTLP, "otlp", "", "base address of a receiver of OTLP over HTTP, such as http://127.0.0.1:4318")
	cmd.Flags().StringVar(&to.Prometheus, "prometheus", "", "base address of a Prometheus, such as http://127.0.0.1:9090")
	cmd.Flags().StringVar(&to.Loki, "loki", "", "base address of a Loki, such as http://127.0.0.1:3100")
	cmd.Flags().StringVar(&to.Pyroscope, "pyroscope", "", "base address of a Pyroscope, such as http://127.0.0.1:4040")
	cmd.Flags().StringVar(&grafana, "grafana", "http://127.0.0.1:3000", "address of the Grafana, for the link that is printed")
	return cmd
}

// replayAll sends runs one after the other. What one of them lacks does not keep the others.
func replayAll(ctx context.Context, out, progress io.Writer, dirs []string, to replay.Config, grafana string) error {
	var failed []error
	for _, dir := range dirs {
		ticker := &sending{out: progress, live: isTerminal(progress), now: time.Now}
		to.Tell = ticker.tell
		report, err := replay.Run(ctx, dir, to)
		ticker.clear()
		if errors.Is(err, replay.ErrNowhere) {
			return usage(fmt.Errorf("replay: %w: give --otlp, --prometheus, --loki or --pyroscope ('faultline replay --help' says more)", err))
		}
		if printReplay(out, report, grafana) {
			failed = append(failed, record.NoteGrafana(dir, grafana))
		}
		if ctx.Err() != nil {
			fmt.Fprintln(progress, "interrupted: what is listed was sent, the rest was not")
			return &codedError{code: exitInconclusive}
		}
		failed = append(failed, err, report.Err())
	}
	if err := errors.Join(failed...); err != nil {
		return broken(err)
	}
	return nil
}

// printReplay says what was sent of a run, and where to look at it, if anything was.
func printReplay(out io.Writer, report replay.Report, grafana string) (sent bool) {
	if len(report.Parts) == 0 {
		return false
	}
	fmt.Fprintln(out, report.Run.ID)
	for _, p := range report.Parts {
		line := fmt.Sprintf("  %-12s %9d sent", p.What, p.Sent)
		if p.What == replay.Verdict {
			line = fmt.Sprintf("  %-12s %14s", p.What, p.Extra)
		} else if p.Extra != "" {
			line += ", " + p.Extra
		}
		if p.Refused > 0 {
			line += fmt.Sprintf(", %d refused", p.Refused)
		}
		if p.Err != nil {
			line += ", and then it failed"
		}
		fmt.Fprintln(out, line)
		sent = sent || p.Sent > 0
	}
	if sent {
		const margin = 20 * time.Second // the verdict comes after the end
		fmt.Fprintf(out, "  %s/d/faultline-lab?from=%d&to=%d\n", grafana, report.From.UnixMilli(), report.To.Add(margin).UnixMilli())
	}
	return sent
}

// sending is the line that tells how far it is, where there is a terminal.
type sending struct {
	out  io.Writer
	live bool
	now  func() time.Time

	mu   sync.Mutex
	last time.Time
}

func (s *sending) tell(p replay.Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const pace = 100 * time.Millisecond
	if now := s.now(); s.live && now.Sub(s.last) >= pace {
		s.last = now
		fmt.Fprintf(s.out, "\r\x1b[K  %s: %d sent", p.What, p.Sent)
	}
}

func (s *sending) clear() {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}
