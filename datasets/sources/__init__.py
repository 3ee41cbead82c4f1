"""Where CTs come from: CT-RATE, folders, tables, and a public sample."""
