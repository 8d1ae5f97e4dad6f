package pgtest

import (
	"strings"
	"testing"
)

func TestStart(t *testing.T) {
	s := Start(t)
	s.Exec(t, "postgres", "create table a(b int); insert into a values (1), (null)")
	rows := s.Query(t, "postgres", "select b from a order by b")
	if len(rows) != 2 || rows[0][0] != "1" || rows[1][0] != "NULL" {
		t.Errorf("rows = %v", rows)
	}
	if !strings.Contains(s.Log(t), "create table a") {
		t.Error("the log holds no statement")
	}
}
