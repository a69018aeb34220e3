from depproxy.main import main

raise SystemExit(main())
