"""MiniVQA: small pictures and questions, drawn on the fly, in eight families."""
