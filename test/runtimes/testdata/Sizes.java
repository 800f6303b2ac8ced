import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.ForkJoinPool;

/** Prints what a Java program sees of its machine. */
public class Sizes {
	public static void main(String[] args) {
		OperatingSystemMXBean os = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
		System.out.println("availableProcessors=" + Runtime.getRuntime().availableProcessors());
		System.out.println("forkJoinParallelism=" + ForkJoinPool.getCommonPoolParallelism());
		System.out.println("mxbeanCPUs=" + os.getAvailableProcessors());
		System.out.println("mxbeanMemory=" + os.getTotalMemorySize());
	}
}
