package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// A pipeline that the target fails in its middle, while the client still sends, ends at its
// Sync and leaves the session usable.
func TestLongPipelineFails(t *testing.T) {
	g := start(t, pgtest.Start(t))
	c := g.grant("pipeline", v1alpha1.AccessReadWrite)
	r := frontend(t, g, c, "postgres")
	for range 20 {
		messages := []pgproto3.FrontendMessage{parse("", "select 1"), bind("twice", "", 0), bind("twice", "", 0)}
		for range 1500 {
			messages = append(messages, bind("", "", 0), execute("", 0))
		}
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(append(messages, sync(), query("select 'still here'"))...) }()
		got := r.untilReady()
		if !strings.HasSuffix(got, "Ready(I)") || strings.Count(got, "ERROR(42P03") != 1 {
			t.Fatalf("the pipeline: %s", got)
		}
		if got := r.untilReady(); !strings.Contains(got, "DataRow(still here)") {
			t.Fatalf("after it: %s", got)
		}
		<-sent
	}
}
